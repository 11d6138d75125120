import type { Backend } from '../backend.js'
import type { Plan } from '../plan/plan.js'
import { kernelsOf, type Word } from '../program.js'
import { Constants } from './constants.js'
import type { FunctionBuilder, Local } from './function.js'
import type { KernelCode, WasmKernel } from './kernels/kernel.js'
import { Layout } from './layout.js'
import { type ProgramMemory, programMemory } from './memory.js'
import { ModuleBuilder, type WasmFeatures } from './module.js'
import { wasmFeatures } from './probe.js'
import { WasmProgram } from './program.js'
import { highestCodes, rules } from './rules.js'
import { i32 } from './values.js'
import { canShare } from './workers.js'

/** Runs plans in WebAssembly, on threads of its own: in browsers, and in Node.js on every processor. */
export const wasm: Backend = {
  name: 'wasm',
  compile: async (plan, { threads }) => compileWith(await wasmFeatures(), plan, threads),
}

let programs = 0

/** Compiles a plan for an engine that has these features. */
export async function compileWith(features: WasmFeatures, plan: Plan, threads: number): Promise<WasmProgram> {
  const memory = programMemory()
  const { steps, addresses, weightBytes } = await placeConstants(plan, memory, features)
  const kernels = steps.flat()
  const { bytes, functions } = moduleOf(kernels, memory, features)
  const layout = new Layout(plan, steps, functions, addresses)
  const module = await WebAssembly.compile(bytes)
  const program = new WasmProgram({
    ...{ id: programs++, plan, memory, module, layout, weightBytes },
    kernels: kernels.map(({ key }) => key),
    threads: canShare() ? threads : 1,
  })
  await program.start()
  return program
}

interface Placed {
  /** The kernels of each step. */
  readonly steps: readonly (readonly WasmKernel[])[]
  readonly addresses: ReadonlyMap<ArrayBufferView, number>
  readonly weightBytes: number
}

/** Chooses the kernels, step by step, and puts what they read into memory. */
async function placeConstants(plan: Plan, memory: ProgramMemory, features: WasmFeatures): Promise<Placed> {
  const constants = new Constants()
  const highest = highestCodes(plan)
  const addresses = new Map<ArrayBufferView, number>()
  let weightBytes = 0
  const placed = (word: Word): Word => {
    if (typeof word === 'number' || !('constant' in word)) return word
    const token = constants.settle(word.constant)
    if (!addresses.has(token)) {
      addresses.set(token, memory.heap.allocate(word.constant.byteLength))
      memory.write(addresses.get(token)!, word.constant)
      weightBytes += word.constant.byteLength
    }
    return { constant: token }
  }
  const steps: WasmKernel[][] = []
  for (const step of plan.steps) {
    await constants.read(step)
    const kernels = await kernelsOf(rules, step, { features, constants, highest })
    steps.push(kernels.map((kernel) => ({ ...kernel, words: kernel.words.map(placed) })))
    constants.release(step)
  }
  return { steps, addresses, weightBytes }
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
  module.export('drive', module.function('drive', ['i32', 'i32', 'i32'], ['i32'], emitDriver))
  return { bytes: module.bytes(), functions }
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
