import type { DType } from '../../numbers/dtype.js'
import { assembler } from '../compiled/x64/assembler.js'
import { addressOf, mapCode } from '../compiled/x64/memory.node.js'
import { at, type Label, rax, rdi, rsi } from '../compiled/x64/operands.js'
import { apiVersion, check, ort, type Pointer, receive } from './c-api.node.js'
import { elementTypeCode } from './element-types.js'

/** An operator of our own. Its code is called by ONNX Runtime's threads, so it is machine code and never JavaScript. */
export interface CustomOperator {
  readonly name: string
  readonly inputs: readonly DType[]
  readonly outputs: readonly DType[]
  /** Where the code of KernelComputeV2 is: called with the operator's record and the OrtKernelContext, gives an OrtStatus or 0. */
  readonly compute: Pointer
}

/** The functions of struct OrtCustomOp in their order; those that are 0 are left out. Source: onnxruntime_c_api.h. */
const functions = [
  ...['version', 'CreateKernel', 'GetName', 'GetExecutionProviderType', 'GetInputType', 'GetInputTypeCount', 'GetOutputType'],
  ...['GetOutputTypeCount', 'KernelCompute', 'KernelDestroy', 'GetInputCharacteristic', 'GetOutputCharacteristic', 'GetInputMemoryType'],
  ...['GetVariadicInputMinArity', 'GetVariadicInputHomogeneity', 'GetVariadicOutputMinArity', 'GetVariadicOutputHomogeneity'],
  ...['CreateKernelV2', 'KernelComputeV2', 'InferOutputShapeFn', 'GetStartVersion', 'GetEndVersion', 'GetMayInplace'],
  ...['ReleaseMayInplace', 'GetAliasMap', 'ReleaseAliasMap'],
]

/** Inputs, and outputs, that an operator may have. */
export const mostPorts = 16

/** What follows the struct in the record of an operator: what its functions answer. */
const answers = {
  name: functions.length,
  inputs: functions.length + 1,
  outputs: functions.length + 2,
  inputTypes: functions.length + 3,
  outputTypes: functions.length + 3 + mostPorts,
  size: functions.length + 3 + 2 * mostPorts,
}

/** Where the functions are that all operators share. */
type Answers = Readonly<Record<string, Pointer>>
let shared: Answers | undefined

/** Code of the functions that answer from the record of their operator. */
function sharedAnswers(): Answers {
  const a = assembler()
  const labels = new Map<string, Label>()
  const answer = (names: readonly string[], body: () => void) => {
    const label = a.here()
    for (const name of names) labels.set(name, label)
    body()
    a.ret()
  }
  const word = (index: number) => a.mov(rax, at(rdi, 8 * index))
  answer(['CreateKernel'], () => a.mov(rax, rdi))
  answer(['GetName'], () => word(answers.name))
  answer(['GetInputTypeCount'], () => word(answers.inputs))
  answer(['GetOutputTypeCount'], () => word(answers.outputs))
  answer(['GetInputType'], () => a.mov(rax, at(rdi, 8 * answers.inputTypes, rsi, 8)))
  answer(['GetOutputType'], () => a.mov(rax, at(rdi, 8 * answers.outputTypes, rsi, 8)))
  // The processor, OrtMemTypeDefault, INPUT_OUTPUT_REQUIRED, and nothing to be done.
  answer(
    [
      'GetExecutionProviderType',
      'GetInputMemoryType',
      'GetInputCharacteristic',
      'GetOutputCharacteristic',
      'KernelCompute',
      'KernelDestroy',
    ],
    () => a.xor(rax, rax),
  )
  answer(['GetVariadicInputMinArity', 'GetVariadicInputHomogeneity', 'GetVariadicOutputMinArity', 'GetVariadicOutputHomogeneity'], () =>
    a.mov(rax, 1),
  )
  const { address } = mapCode(a.code())
  return Object.fromEntries([...labels].map(([name, label]) => [name, address + BigInt(label.position)]))
}

/** Memory that ONNX Runtime reads as long as the process lives. */
const kept: unknown[] = []

/** The address of a text as a C string, for as long as the process lives. */
export function keptText(text: string): Pointer {
  const bytes = new TextEncoder().encode(`${text}\0`)
  kept.push(bytes)
  return addressOf(bytes)
}

/**
 * An OrtCustomOpDomain of operators, for as long as the process lives.
 *
 * @throws TinsmithError `unsupported` where the system forbids new code
 */
export function operatorDomain(name: string, operators: readonly CustomOperator[]): Pointer {
  const { api } = ort()
  shared ??= sharedAnswers()
  const domain = receive((out) => api.CreateCustomOpDomain(name, out))
  for (const operator of operators) check(api.CustomOpDomain_Add(domain, recordOf(operator, shared)))
  return domain
}

function recordOf({ name, inputs, outputs, compute }: CustomOperator, shared: Answers): Pointer {
  const record = new BigUint64Array(answers.size)
  for (const [i, own] of functions.entries()) record[i] = shared[own] ?? 0n
  record[functions.indexOf('version')] = BigInt(apiVersion)
  record[functions.indexOf('KernelComputeV2')] = compute
  record[answers.name] = keptText(name)
  record[answers.inputs] = BigInt(inputs.length)
  record[answers.outputs] = BigInt(outputs.length)
  for (const [i, dtype] of inputs.entries()) record[answers.inputTypes + i] = BigInt(elementTypeCode(dtype))
  for (const [i, dtype] of outputs.entries()) record[answers.outputTypes + i] = BigInt(elementTypeCode(dtype))
  kept.push(record)
  return addressOf(record)
}
