import type { Backend } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { kernelsOf, type Word } from '../program.js'
import { Constants } from './constants.js'
import type { FunctionBuilder, Local } from './function.js'
import type { KernelCode, WasmKernel } from './kernels/kernel.js'
import { Lists } from './lists.js'
import { type ProgramMemory, programMemory } from './memory.js'
import { ModuleBuilder, type WasmFeatures } from './module.js'
import { wasmFeatures } from './probe.js'
import { WasmProgram } from './program.js'
import { highestCodes, rules, wasmFusions } from './rules.js'
import { emitBarrier, emitStart, type PlacedKernel } from './team.js'
import { i32 } from './values.js'

/** Runs plans in WebAssembly, on threads of its own: in browsers, and in Node.js on every processor. */
export const wasm: Backend = {
  name: 'wasm',
  fusions: wasmFusions,
  compile: async (plan, { threads, profile }) => compileWith(await wasmFeatures(), plan, profile ? 1 : threads, profile),
}

let programs = 0

/** Compiles a plan for an engine that has these features. */
export async function compileWith(features: WasmFeatures, plan: Plan, threads: number, profile = false): Promise<WasmProgram> {
  const memory = programMemory()
  const most = memory.shared && !profile ? threads : 1
  const { kernels, addresses, weightBytes } = await placeConstants(plan, memory, features, most)
  const { bytes, functions, barrier, start } = moduleOf(kernels, memory, features)
  const placed = kernels.map((kernel, i) => ({ ...kernel, function: functions[i] }))
  const program = new WasmProgram({
    ...{ id: programs++, plan, memory, weightBytes, start },
    module: await WebAssembly.compile(bytes),
    lists: new Lists(plan, placed, addresses, most, barrier),
    kernels: kernels.map(({ key }) => key),
    threads: memory.shared ? threads : 1,
    timed: profile ? kernels.map(({ step }) => step) : undefined,
  })
  await program.start()
  return program
}

interface Placed {
  readonly kernels: readonly Omit<PlacedKernel & WasmKernel, 'function'>[]
  readonly addresses: ReadonlyMap<ArrayBufferView, number>
  readonly weightBytes: number
}

/** Chooses the kernels, step by step, and puts what they read into memory. */
async function placeConstants(plan: Plan, memory: ProgramMemory, features: WasmFeatures, threads: number): Promise<Placed> {
  const constants = new Constants()
  const highest = highestCodes(plan)
  const addresses = new Map<ArrayBufferView, number>()
  const tokens = new Map<ArrayBufferView, ArrayBufferView>()
  let weightBytes = 0
  const placed = (word: Word): Word => {
    if (typeof word === 'number' || !('constant' in word)) return word
    const token = tokens.get(word.constant) ?? constants.settle(word.constant)
    tokens.set(word.constant, token)
    if (!addresses.has(token)) {
      addresses.set(token, memory.heap.allocate(word.constant.byteLength))
      memory.write(addresses.get(token)!, word.constant)
      weightBytes += word.constant.byteLength
    }
    return { ...word, constant: token }
  }
  const kernels: Omit<PlacedKernel & WasmKernel, 'function'>[] = []
  for (const [i, step] of plan.steps.entries()) {
    await constants.read(step)
    for (const kernel of await kernelsOf(rules, step, { features, constants, highest, threads })) {
      const words = kernel.words.map(placed)
      const shares = kernel.split && Array.from({ length: threads }, (_, part) => kernel.split!(part, threads)?.map(placed) ?? null)
      kernels.push({ ...kernel, words, shares, step: i })
    }
    tokens.clear()
    constants.release(step)
  }
  return { kernels, addresses, weightBytes }
}

/** All kernels in one module, and the index of each one's function. */
export function moduleOf(
  kernels: readonly WasmKernel[],
  memory: { readonly pages: number; readonly shared: boolean },
  features: WasmFeatures,
) {
  const module = new ModuleBuilder({ initial: 1, maximum: memory.pages, shared: memory.shared }, features)
  const codes = new Map<string, KernelCode>()
  for (const { key, code } of kernels) if (!codes.has(key)) codes.set(key, code())
  const functions = kernels.map(({ key }) => module.function(key, ['i32'], [], codes.get(key)!).index)
  const barrier = memory.shared ? module.function('barrier', ['i32'], [], emitBarrier).index : undefined
  const drive = module.function('drive', ['i32', 'i32', 'i32'], ['i32'], emitDriver)
  const start = memory.shared ? module.function('start', ['i32'], [], (f) => emitStart(f, drive)).index : undefined
  module.export('drive', drive)
  return { bytes: module.bytes(), functions, barrier, start }
}

/** Calls the functions of a list of pairs (function, words) one after another; 1 where the word at `cancel` stopped it. */
function emitDriver(f: FunctionBuilder): void {
  const [list, count, cancel] = f.parameters as Local<'i32'>[]
  f.while(count, () => {
    f.if(i32['atomic.load'](cancel), () => f.return(i32.const(1)))
    f.do(f.callIndirect(i32.load(list), [i32.load(list, 4)]))
    f.add(list, 8)
    f.add(count, -1)
  })
  f.return(i32.const(0))
}
