import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Arena, Place } from './arena.js'

/**
 * Where an emulator for instructions that this processor lacks is: the folder of a Bochs that was built from its source
 * with --enable-x86-64 --enable-avx --enable-evex --enable-amx --with-nogui, in which its BIOS lies too.
 *
 * Bochs 3.0 multiplies tiles of unsigned and signed bytes as if both were unsigned; in its cpu/avx/amx.cc, the signed
 * bytes of DPBDUS and DPBDSU must be Bit8s.
 */
export const emulator = process.env['TINSMITH_BOCHS']

/** Where the boot sector puts the image, and how long that may be: see emulator-boot.S. */
const base = 0x10000
const longest = 28 * 32 * 512
const sector = 512
const geometry = { cylinders: 20, heads: 16, spt: 63 }

/** Memory of an emulated machine without an operating system, and the kernels that it is to call. */
export class EmulatedMachine implements Arena {
  readonly #image = new Uint8Array(longest)
  readonly #calls: bigint[] = []
  #used = 64 * 64

  place(bytes: number): Place {
    const start = Math.ceil(this.#used / 64) * 64
    this.#used = start + bytes
    if (this.#used > longest) throw new Error(`An emulated machine has room for ${longest} bytes`)
    return { address: BigInt(base + start), bytes: this.#image.subarray(start, start + bytes) }
  }

  /** Bytes that are free. */
  get room(): number {
    return longest - this.#used
  }

  placeBytes(bytes: Uint8Array): bigint {
    const place = this.place(bytes.length)
    place.bytes.set(bytes)
    return place.address
  }

  /** Calls the code with the parameters when the machine runs. */
  call(code: bigint, parameters: BigInt64Array): void {
    this.#calls.push(code, this.placeBytes(new Uint8Array(parameters.buffer)))
  }

  /** Runs all calls in order; the bytes of all places are then as the kernels left them. */
  run(model: string): void {
    const header = new BigInt64Array(this.#image.buffer, 0, 3 + this.#calls.length)
    header.set([BigInt(this.#calls.length / 2), BigInt(base), BigInt(base + this.#used), ...this.#calls])
    const folder = mkdtempSync(join(tmpdir(), 'tinsmith-emulator-'))
    try {
      this.#image.set(answers(bochs(folder, model, this.#image), this.#used))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
}

/** Boots the image and returns what the machine said. */
function bochs(folder: string, model: string, image: Uint8Array): Buffer {
  const [object, disk, log] = ['boot.o', 'disk', 'log'].map((name) => join(folder, name))
  execFileSync('as', ['--64', fileURLToPath(new URL('./emulator-boot.S', import.meta.url)), '-o', object])
  execFileSync('ld', ['-Ttext=0x7c00', '--oformat', 'binary', '-o', disk, object], { stdio: 'ignore' })
  writeFileSync(disk, Buffer.concat([readFileSync(disk), image]))
  const { cylinders, heads, spt } = geometry
  truncateSync(disk, cylinders * heads * spt * sector)
  const settings = [
    'display_library: nogui',
    'memory: guest=32, host=32',
    `romimage: file=${emulator}/bios/BIOS-bochs-latest`,
    `vgaromimage: file=${emulator}/bios/VGABIOS-lgpl/VGABIOS-lgpl-latest.bin`,
    `ata0-master: type=disk, path=${disk}, mode=flat, cylinders=${cylinders}, heads=${heads}, spt=${spt}`,
    'boot: disk',
    `cpu: model=${model}, reset_on_triple_fault=0`,
    'port_e9_hack: enabled=1',
    'panic: action=fatal',
    `log: ${log}`,
  ]
  writeFileSync(join(folder, 'settings'), `${settings.join('\n')}\n`)
  try {
    return execFileSync(`${emulator}/bochs`, ['-q', '-f', join(folder, 'settings')], {
      maxBuffer: 2 ** 28,
      timeout: 60_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  } catch (error) {
    // The machine turns itself off, which Bochs ends as a failure.
    const { stdout } = error as { stdout?: Buffer }
    if (stdout?.includes(heading)) return stdout
    throw new Error(`The emulated machine stopped: ${readFileSync(log, 'latin1').slice(-2000)}`)
  }
}

/** What the boot sector says before the answers. */
const heading = 'Answers:'

function answers(said: Buffer, count: number): Uint8Array {
  const start = said.indexOf(heading) + heading.length
  if (said.length < start + count) throw new Error(`The emulated machine said ${said.length - start} bytes instead of ${count}`)
  return said.subarray(start, start + count)
}
