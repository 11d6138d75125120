import { Bytes } from './bytes.js'
import type { ValueType } from './instructions.js'
import type { ModuleBuilder } from './module.js'
import { floats, i32, integers, type Statement, Value } from './values.js'

export const typeCodes: Readonly<Record<ValueType, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b }

/** A variable of a function; as a value, what it holds. */
export class Local<Type extends ValueType = ValueType> extends Value<Type> {
  constructor(
    type: Type,
    readonly index: number,
  ) {
    super(type, (out) => out.byte(0x20).unsigned(index))
  }
}

/** A function of a module, by its index there. */
export interface FunctionReference {
  readonly index: number
  readonly parameters: readonly ValueType[]
  readonly results: readonly ValueType[]
}

type Condition = Value<'i32'>
/** Leaves a block, or starts a loop again; with a condition, only where that is not zero. */
type Branch = (condition?: Condition) => void

/** The code of a function, statement by statement. */
export class FunctionBuilder {
  readonly #code = new Bytes()
  readonly #locals: ValueType[] = []
  readonly #constants = new Map<string, { local: Local<'v128'>; value: Value<'v128'> }>()
  #depth = 0
  readonly parameters: readonly Local[]

  constructor(
    readonly module: ModuleBuilder,
    parameters: readonly ValueType[],
    private readonly results: readonly ValueType[] = [],
  ) {
    this.parameters = parameters.map((type, i) => new Local(type, i))
  }

  /** A new variable, zero unless a first value is given. */
  local<Type extends ValueType>(type: Type, first?: Value<Type>): Local<Type> {
    const local = new Local(type, this.parameters.length + this.#locals.length)
    this.#locals.push(type)
    if (first) this.set(local, first)
    return local
  }

  /** New variables of one type, without values. */
  localsOf<Type extends ValueType>(type: Type, count: number): Local<Type>[] {
    return Array.from({ length: count }, () => this.local(type))
  }

  /** A vector of one float32, four times, that is made once, where the function begins: engines make constants anew at each use. */
  floats(value: number): Value<'v128'> {
    return this.#constant(`float ${Object.is(value, -0) ? '-0' : value}`, floats(value))
  }

  /** Likewise four integers. */
  integers(...values: readonly number[]): Value<'v128'> {
    return this.#constant(`integer ${values}`, integers(...values))
  }

  set<Type extends ValueType>(local: Local<Type>, value: Value<Type>): void {
    value.emit(this.#code)
    this.#code.byte(0x21).unsigned(local.index)
  }

  /** Adds to an integer variable. */
  add(local: Local<'i32'>, value: Value<'i32'> | number): void {
    this.set(local, i32.add(local, value))
  }

  do(...statements: readonly Statement[]): void {
    for (const statement of statements) statement.emit(this.#code)
  }

  if(condition: Condition, then: () => void, otherwise?: () => void): void {
    condition.emit(this.#code)
    this.#nested(0x04, () => {
      then()
      if (!otherwise) return
      this.#code.byte(0x05)
      otherwise()
    })
  }

  /** Runs the body; `leave` goes behind it. */
  block(body: (leave: Branch) => void): void {
    this.#nested(0x02, () => body(this.#branch()))
  }

  /** Runs the body; `again` starts it once more. */
  loop(body: (again: Branch) => void): void {
    this.#nested(0x03, () => body(this.#branch()))
  }

  /** Repeats the body as long as the condition holds. */
  while(condition: Condition, body: () => void): void {
    this.if(condition, () =>
      this.loop((again) => {
        body()
        again(condition)
      }),
    )
  }

  /** Runs the body for `counter` from its value up to, but without, `end`. */
  for(counter: Local<'i32'>, end: Value<'i32'> | number, step: number, body: () => void): void {
    this.while(i32.lt_s(counter, end), () => {
      body()
      this.add(counter, step)
    })
  }

  /** A call as a value (of the first result), or as a statement where there is none. */
  call<Type extends ValueType | 'none' = 'none'>(target: FunctionReference, operands: readonly Value[]): Value<Type> {
    return new Value((target.results[0] ?? 'none') as Type, (out) => {
      for (const operand of operands) operand.emit(out)
      out.byte(0x10).unsigned(target.index)
    })
  }

  /** Calls a function of the module's table that takes these operands and returns nothing. */
  callIndirect(place: Value<'i32'>, operands: readonly Value<ValueType>[]): Statement {
    const type = this.module.typeIndex(
      operands.map((operand) => operand.type),
      [],
    )
    return new Value('none', (out) => {
      for (const operand of operands) operand.emit(out)
      place.emit(out)
      out.byte(0x11).unsigned(type).unsigned(0)
    })
  }

  /** Ends the function; where it has a result, this stands at its end too. */
  return(value?: Value): void {
    value?.emit(this.#code)
    this.#code.byte(0x0f)
  }

  /** Locals and code, as the module's code section has them. */
  body(): Bytes {
    const body = new Bytes()
    const groups: { type: ValueType; count: number }[] = []
    for (const type of this.#locals) {
      const last = groups.at(-1)
      if (last?.type === type) last.count++
      else groups.push({ type, count: 1 })
    }
    body.unsigned(groups.length)
    for (const { type, count } of groups) body.unsigned(count).byte(typeCodes[type])
    for (const { local, value } of this.#constants.values()) {
      value.emit(body)
      body.byte(0x21).unsigned(local.index)
    }
    body.append(this.#code)
    if (this.results.length) body.byte(0x00)
    return body.byte(0x0b)
  }

  #constant(key: string, value: Value<'v128'>): Value<'v128'> {
    const known = this.#constants.get(key)
    if (known) return known.local
    const local = this.local('v128')
    this.#constants.set(key, { local, value })
    return local
  }

  #nested(opcode: number, body: () => void): void {
    this.#code.byte(opcode, 0x40)
    this.#depth++
    body()
    this.#depth--
    this.#code.byte(0x0b)
  }

  #branch(): Branch {
    const depth = this.#depth
    return (condition) => {
      condition?.emit(this.#code)
      this.#code.byte(condition ? 0x0d : 0x0c).unsigned(this.#depth - depth)
    }
  }
}
