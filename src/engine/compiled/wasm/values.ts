import type { Bytes } from './bytes.js'
import { type Form, instructions, type Mnemonic, parseForm, type ValueType } from './instructions.js'

/** What code leaves on the stack, with the code that computes it; `none` for what only has an effect. */
export class Value<Type extends ValueType | 'none' = ValueType | 'none'> {
  constructor(
    readonly type: Type,
    readonly emit: (out: Bytes) => void,
  ) {}
}

export type Statement = Value<'none'>

interface Letters {
  i: 'i32'
  l: 'i64'
  f: 'f32'
  d: 'f64'
  v: 'v128'
}
type Argument<Letter> = Letter extends 'i' | 'f' | 'd'
  ? Value<Letters[Letter]> | number
  : Letter extends keyof Letters
    ? Value<Letters[Letter]>
    : never
type Operands<Text extends string> = Text extends `${infer First}${infer Rest}` ? [Argument<First>, ...Operands<Rest>] : []
type Constant<Letter> = Letter extends 'v' ? Uint8Array : Letter extends 'l' ? bigint : number
type Immediates<Words extends string, Result> = Words extends `${infer Word} ${infer Rest}`
  ? [...Immediate<Word, Result>, ...Immediates<Rest, Result>]
  : Immediate<Words, Result>
/** Offsets may be left out where nothing follows them. */
type Immediate<Word extends string, Result> = Word extends `m${string}`
  ? [offset?: number]
  : Word extends `k${string}`
    ? [lane: number]
    : Word extends 's'
      ? [lanes: readonly number[]]
      : Word extends 'c'
        ? [value: Constant<Result>]
        : []
type ImmediatesOf<Words extends string, Result> = Words extends `${string} m${string} k${string}`
  ? [offset: number, lane: number]
  : Immediates<Words, Result>
type Instruction<Text> = Text extends `${infer Taken}:${infer Result} ${infer Words}`
  ? (...operands: [...Operands<Taken>, ...ImmediatesOf<Words, Result>]) => Value<Result extends keyof Letters ? Letters[Result] : 'none'>
  : Text extends `${infer Taken}: ${infer Words}`
    ? (...operands: [...Operands<Taken>, ...ImmediatesOf<Words, ''>]) => Statement
    : never

type Groups = Mnemonic extends `${infer Group}.${string}` ? Group : never
type Table = typeof instructions
type Functions = {
  readonly [Group in Groups]: {
    readonly [Name in Mnemonic as Name extends `${Group}.${infer Method}` ? Method : never]: Instruction<Table[Name]>
  }
}

/** Every instruction of the table, read. */
export const forms: ReadonlyMap<Mnemonic, Form> = new Map(
  (Object.entries(instructions) as [Mnemonic, string][]).map(([name, text]) => [name, parseForm(text)]),
)

type Given = Value | number | bigint | Uint8Array | readonly number[] | undefined

function makeFunctions(): Functions {
  const groups: Record<string, Record<string, (...given: Given[]) => Value>> = {}
  for (const [name, form] of forms) {
    const dot = name.indexOf('.')
    const [group, method] = [name.slice(0, dot), name.slice(dot + 1)]
    groups[group] ??= {}
    groups[group][method] = (...given) => instruction(form, given)
  }
  return groups as unknown as Functions
}

/** An instruction with its operands and immediates. Numbers stand for constants of the operand's type. */
export function instruction(form: Form, given: readonly Given[]): Value {
  const operands = form.operands.map((type, i) => operandOf(type, given[i]))
  const immediates = given.slice(operands.length)
  return new Value(form.result, (out) => {
    for (const operand of operands) operand.emit(out)
    if (form.prefix === undefined) out.byte(form.opcode)
    else out.byte(form.prefix).unsigned(form.opcode)
    form.immediates.forEach(({ kind, size }, i) => {
      const value = immediates[i]
      if (kind === 'memory') out.unsigned(size).unsigned(Number(value ?? 0))
      else if (kind === 'lane') out.byte(Number(value))
      else if (kind === 'lanes') out.append(value as readonly number[])
      else emitConstant(out, form.result, value)
    })
  })
}

function operandOf(type: ValueType, given: Given): Value {
  if (typeof given !== 'number') return given as Value
  return instruction(forms.get(`${type as 'i32'}.const`)!, [given])
}

function emitConstant(out: Bytes, type: ValueType | 'none', value: Given): void {
  if (type === 'i32') out.signed((value as number) | 0)
  else if (type === 'i64') out.signed(value as bigint)
  else if (type === 'f32') out.append(new Uint8Array(Float32Array.of(value as number).buffer))
  else if (type === 'f64') out.append(new Uint8Array(Float64Array.of(value as number).buffer))
  else out.append(value as Uint8Array)
}

/**
 * Instructions as functions, grouped as their names are.
 *
 * @example
 * const address = i32.add(i32.const(64), 4)
 * address.type // 'i32'
 */
export const { memory, i32, i64, f32, f64, v128, i8x16, i16x8, i32x4, f32x4, f64x2 } = makeFunctions()

/** One of two values: the first where the condition is not zero. */
export function select<Type extends Exclude<ValueType, 'v128'>>(condition: Value<'i32'>, yes: Value<Type>, no: Value<Type>): Value<Type> {
  return new Value(yes.type, (out) => {
    yes.emit(out)
    no.emit(out)
    condition.emit(out)
    out.byte(0x1b)
  })
}

/** A vector of one float32, four times. */
export function floats(value: number): Value<'v128'> {
  return v128.const(new Uint8Array(new Float32Array(4).fill(value).buffer))
}

/** A vector of four 32-bit integers. */
export function integers(...values: readonly number[]): Value<'v128'> {
  const four = values.length === 1 ? new Int32Array(4).fill(values[0]) : Int32Array.from(values)
  return v128.const(new Uint8Array(four.buffer))
}
