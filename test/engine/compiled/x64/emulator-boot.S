# Boot sector of the emulated machine: loads the image behind it to 0x10000, enters 64-bit mode with all vector state
# enabled, calls every kernel of the image's list, and writes a word and then the answers to port 0xe9.
#
# The image begins with 64-bit words: number of calls, start and end of the answers; then for each call the addresses of
# code and parameters.
.intel_syntax noprefix
.code16
.globl _start
_start:
  cli
  cld
  xor ax, ax
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov sp, 0x7c00
  mov si, offset packet
load:
  mov ah, 0x42
  int 0x13
  jc load
  add word ptr [packet + 6], 0x400      # segment: 16 KiB further
  add word ptr [packet + 8], 32         # sector
  dec word ptr [chunks]
  jnz load
  cli                                   # the BIOS has let interrupts in
  in al, 0x92
  or al, 2
  out 0x92, al
  mov edi, 0x1000                       # page tables: the first GiB, in pages of 2 MiB
  xor eax, eax
  mov ecx, 0xc00
  rep stosd
  mov dword ptr [0x1000], 0x2003
  mov dword ptr [0x2000], 0x3003
  mov edi, 0x3000
  mov eax, 0x83
  mov cx, 512
map:
  mov [edi], eax
  add eax, 0x200000
  add edi, 8
  loop map
  mov eax, 0x1000
  mov cr3, eax
  mov eax, 0x40620                      # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
  mov cr4, eax
  mov ecx, 0xc0000080                   # EFER: long mode
  rdmsr
  or eax, 0x100
  wrmsr
  lgdt [table]
  mov eax, 0x80000011                   # paging, protection, no emulation of the FPU
  mov cr0, eax
  .byte 0xea                            # far jump
  .word long_mode, 8
.code64
long_mode:
  mov eax, 0xd                          # all state that the processor knows of vectors and tiles
  xor ecx, ecx
  cpuid
  and eax, 0x600e7
  xor edx, edx
  xor ecx, ecx
  xsetbv
  mov ax, 16
  mov ss, ax
  mov rsp, 0x9f000
  mov ebx, 0x10000
  mov r12, [rbx]
  lea r13, [rbx + 24]
calls:
  mov rdi, [r13 + 8]
  call [r13]
  add r13, 16
  dec r12
  jnz calls
  mov dx, 0xe9
  lea rsi, [rip + heading]
  mov ecx, 8
  rep outsb
  mov rsi, [rbx + 8]
  mov rcx, [rbx + 16]
  sub rcx, rsi
  rep outsb
  mov dx, 0x8900
  lea rsi, [rip + shutdown]
  mov ecx, 8
  rep outsb
stop:
  hlt
  jmp stop
heading: .ascii "Answers:"
shutdown: .ascii "Shutdown"
.balign 4
packet: .byte 16, 0
  .word 32, 0, 0x1000
  .long 1, 0
chunks: .word 28
.balign 8
gdt: .quad 0, 0x00209a0000000000, 0x0000920000000000
table: .word 23
  .long gdt
.org 510
.word 0xaa55
