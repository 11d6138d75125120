// biome-ignore-all format: generated
// biome-ignore-all assist: generated
// biome-ignore-all lint: generated
// The public API, written by `npm run api -- --update`. Read the differences in review: each changes what users can rely on.
export {
  Anatomy,
  BlobSource,
  Block,
  ByteSink,
  ByteSource,
  CacheAction,
  CacheResult,
  Classification,
  CommandOptions,
  CompareOptions,
  CompareResult,
  ComparedModel,
  CompressOptions,
  CompressResult,
  Config,
  ConvertOptions,
  ConvertResult,
  DType,
  DTypeWord,
  DemoForm,
  DemoModel,
  DemoRecipe,
  DemoResult,
  Dim,
  Elements,
  Embedding,
  EngineName,
  Entity,
  ErrorCode,
  ErrorDetails,
  EvaluateOptions,
  EvaluateResult,
  Evaluation,
  Feeds,
  Folder,
  GenerateOptions,
  GradientOptions,
  Graph,
  Image,
  ImageFile,
  ImageProcessor,
  ImageSample,
  ImageSource,
  Imported,
  InspectOptions,
  InspectResult,
  InspectedBlock,
  InspectedGraph,
  InspectedLinear,
  Linear,
  ListKind,
  Listed,
  LoadOptions,
  LoadOptions as SessionOptions,
  Measured,
  MeasuredFigure,
  MemoryFolder,
  MemorySource,
  Message,
  Mixer,
  Model,
  NDArray,
  Node,
  Norm,
  OpenOptions,
  OperatorTime,
  Output,
  Pass,
  PassContext,
  PassResult,
  Pipeline,
  Port,
  Progress,
  Rate,
  Recipe,
  RecipeStep,
  Refusal,
  Report,
  Role,
  RunContext,
  RunOptions,
  RunOptions as SessionRunOptions,
  RunResult,
  Sample,
  Session,
  SilentProgress,
  Stage,
  StepReport,
  TargetName,
  Task,
  Tensor,
  TextOrPair,
  TextResult,
  TextSample,
  TinsmithError,
  TokenSequence,
  Tokenizer,
  TrainCommandOptions,
  TrainResult,
  TransformersJsOptions,
  Value,
  WritableFolder,
  Written,
  agreement,
  anatomyOf,
  cache,
  compare,
  compress,
  conformance,
  convert,
  definePass,
  demo,
  evaluate,
  gradient,
  importModel,
  inspect,
  list,
  load,
  lower,
  ndarray,
  openFolder,
  openGraph,
  parseRecipe,
  passes,
  preset,
  presetNames,
  printGraph,
  printNode,
  raise,
  readOnnx,
  run,
  runRecipe,
  tasks,
  train,
  verify,
  writeOnnx,
  writeTransformersJs,
}

// anatomy/index.d.ts
export type Role = 'q' | 'k' | 'v' | 'qkv' | 'o' | 'up' | 'gate' | 'gate_up' | 'down';
export interface Norm {
    readonly name: string;
    readonly node: Node;
}
export interface Embedding {
    readonly name: string;
    readonly node: Node;
    readonly table: Value;
    readonly rows: number;
    readonly width: number;
}
export interface Block {
    readonly name: string;
    readonly mixer: Mixer;
    readonly linears: ReadonlyMap<Role, Linear>;
    readonly norms: readonly Norm[];
}
export interface Anatomy {
    readonly blocks: readonly Block[];
    readonly embeddings: readonly Embedding[];
    readonly others: readonly Linear[];
    readonly linears: readonly Linear[];
    readonly norms: readonly Norm[];
}
export declare function anatomyOf(graph: Graph): Anatomy;

// anatomy/linear.d.ts
export interface Linear {
    readonly name: string;
    readonly product: Node;
    readonly addition: Node | null;
    readonly weight: Value;
    readonly bias: Value | null;
    readonly input: Value;
    readonly output: Value;
    readonly inputs: number;
    readonly outputs: number;
    readonly dtype: DType;
}

// anatomy/mixer.d.ts
export interface Mixer {
    readonly kind: 'attention';
    readonly node: Node;
    readonly query: Value;
    readonly key: Value;
    readonly value: Value;
    readonly context: Value;
    readonly scores: Value | null;
    readonly probabilities: Value | null;
    readonly heads: number | null;
    readonly kvHeads: number | null;
}

// base/bytes.d.ts
export interface ByteSource {
    readonly name: string;
    readonly size: number;
    read(offset: number, length: number): Promise<Uint8Array>;
}
export interface ByteSink {
    write(bytes: Uint8Array): Promise<void>;
    close(): Promise<void>;
}
export interface Folder {
    readonly name: string;
    list(): Promise<string[]>;
    has(path: string): Promise<boolean>;
    open(path: string): Promise<ByteSource>;
    state?(path: string): Promise<string>;
}
export interface WritableFolder extends Folder {
    create(path: string): Promise<ByteSink>;
}
export declare class MemorySource implements ByteSource {
    readonly name: string;
    constructor(bytes: Uint8Array, name?: string);
    get size(): number;
    read(offset: number, length: number): Promise<Uint8Array>;
}
export declare class BlobSource implements ByteSource {
    readonly name: string;
    constructor(blob: Blob, name?: string);
    get size(): number;
    read(offset: number, length: number): Promise<Uint8Array>;
}
export declare class MemoryFolder implements WritableFolder {
    readonly name: string;
    readonly files: Map<string, Uint8Array>;
    constructor(files?: Map<string, Uint8Array>, name?: string);
    list(): Promise<string[]>;
    has(path: string): Promise<boolean>;
    open(path: string): Promise<ByteSource>;
    create(path: string): Promise<ByteSink>;
}

// base/errors.d.ts
export type ErrorCode = 'bad-input' | 'usage' | 'unsupported' | 'difference' | 'failed' | 'out-of-memory' | 'cannot-write' | 'interrupted';
export interface ErrorDetails {
    where?: string;
    hint?: string;
    cause?: unknown;
}
export declare class TinsmithError extends Error {
    readonly code: ErrorCode;
    readonly where?: string;
    readonly hint?: string;
    constructor(code: ErrorCode, message: string, details?: ErrorDetails);
    get exitCode(): number;
    get sentence(): string;
}

// base/image.d.ts
export interface Image {
    readonly width: number;
    readonly height: number;
    readonly channels: 1 | 2 | 3 | 4;
    readonly data: Uint8Array | Uint8ClampedArray | Float32Array;
}

// base/progress.d.ts
export interface Progress {
    stage(name: string, total?: number): Stage;
    warn(message: string): void;
    info(message: string): void;
}
export interface Stage {
    advance(by?: number): void;
    note?(text: string): void;
    end(): void;
}
export declare class SilentProgress implements Progress {
    readonly warnings: string[];
    stage(): Stage;
    warn(message: string): void;
    info(): void;
}

// base/random.d.ts
export declare class Random {
    readonly seed: number;
    constructor(seed: number, name?: string);
    stream(name: string): Random;
    bits(): number;
    uniform(): number;
    integer(bound: number): number;
    normal(): number;
    permutation(count: number): number[];
    normals(count: number, deviation?: number): Float32Array;
}

// calibration/calibration.d.ts
export interface CalibrationBatch {
    readonly feeds: Feeds;
    readonly special: Uint8Array;
}
export interface Calibration {
    readonly batches: readonly CalibrationBatch[];
    readonly samples: number;
    readonly origin: string;
    readonly hash: string;
}

// calibration/collect.d.ts
export interface CollectContext {
    open(graph: Graph, options?: OpenOptions): Promise<Session>;
    readonly progress: Progress;
    readonly signal: AbortSignal | undefined;
}

// commands/cache.d.ts
export declare const cacheActions: readonly ['where', 'size', 'clear'];
export type CacheAction = (typeof cacheActions)[number];
export interface CacheResult {
    readonly path: string;
    readonly bytes?: Readonly<Record<string, number>>;
}
export declare function cache(action: CacheAction): Promise<CacheResult>;

// commands/compare.d.ts
export interface CompareOptions extends CommandOptions {
    readonly evaluate: string;
    readonly columns?: string;
    readonly tokens?: number;
    readonly window?: number;
    readonly engines?: readonly EngineName[];
}
export interface ComparedModel {
    readonly model: string;
    readonly dtype: string;
    readonly engine: string;
    readonly metrics: Readonly<Record<string, number>>;
    readonly bytes: number;
    readonly rate: number;
    readonly ratio: number;
}
export interface CompareResult {
    readonly task: string;
    readonly samples: number;
    readonly baseline: Readonly<Record<string, number>>;
    readonly unit: string;
    readonly rows: readonly ComparedModel[];
    readonly warnings: readonly string[];
}
export declare function compare(models: readonly string[], options: CompareOptions): Promise<CompareResult>;

// commands/compress.d.ts
export interface CompressOptions extends CommandOptions {
    readonly recipe?: string;
    readonly calibrate?: string | readonly string[];
    readonly evaluate?: string;
    readonly set?: readonly string[];
    readonly force?: boolean;
    readonly keepFp32?: boolean;
    readonly columns?: string;
    readonly seed?: number;
    readonly tokens?: number;
    readonly window?: number;
    readonly report?: string;
    readonly fresh?: boolean;
}
export interface CompressResult extends ConvertResult {
    readonly recipe: string;
    readonly before: MeasuredFigure;
    readonly after: MeasuredFigure;
    readonly task?: string;
    readonly samples?: number;
    readonly baseline?: Readonly<Record<string, number>>;
    readonly blocks?: readonly BlockFigure[];
}
export declare function compress(source: string, out: string, options?: CompressOptions): Promise<CompressResult>;

// commands/conformance.d.ts
export declare function conformance(path: string, { progress }?: CommandOptions): Promise<ConformanceReport>;

// commands/context.d.ts
export interface CommandOptions {
    readonly progress?: Progress;
    readonly signal?: AbortSignal;
}

// commands/convert.d.ts
export interface ConvertOptions extends CommandOptions {
    readonly dtype?: 'fp32' | 'fp16';
    readonly force?: boolean;
}
export interface ConvertResult {
    readonly files: readonly {
        readonly path: string;
        readonly bytes: number;
    }[];
    readonly model: {
        readonly type: string;
        readonly parameters: number;
    };
    readonly steps: readonly StepReport[];
    readonly before: Figure;
    readonly after: Figure;
    readonly warnings: readonly string[];
}
export declare function convert(source: string, out: string, options?: ConvertOptions): Promise<ConvertResult>;

// commands/demo.d.ts
declare const engines: readonly ['ort', 'compiled'];
export type DemoEngine = (typeof engines)[number];
export type DemoRecipe = 'int8' | 'int4';
export interface DemoForm {
    readonly form: 'original' | DemoRecipe;
    readonly bytes: number;
    readonly quality: number;
    readonly rates: Readonly<Record<DemoEngine, number>>;
    readonly seconds: number | null;
    readonly answer: string;
}
export interface DemoModel {
    readonly model: string;
    readonly task: string;
    readonly metric: string;
    readonly samples: number;
    readonly unit: string;
    readonly input: string;
    readonly forms: readonly DemoForm[];
}
export interface DemoResult {
    readonly models: readonly DemoModel[];
    readonly seconds: number;
}
export declare function demo(options?: CommandOptions): Promise<DemoResult>;

// commands/evaluate.d.ts
export interface EvaluateOptions extends LoadOptions {
    readonly against?: string;
    readonly columns?: string;
    readonly tokens?: number;
    readonly window?: number;
}
export interface Measured {
    readonly model: string;
    readonly metrics: Readonly<Record<string, number>>;
    readonly bytes: number;
    readonly rate: Rate;
}
export interface EvaluateResult {
    readonly task: string;
    readonly file: string;
    readonly samples: number;
    readonly metrics: Readonly<Record<string, number>>;
    readonly baseline: Readonly<Record<string, number>>;
    readonly seconds: number;
    readonly engine: string;
    readonly dtype: string;
    readonly bytes: number;
    readonly against?: Measured & {
        readonly agreement: Readonly<Record<string, number>>;
        readonly ownRate: Rate;
        readonly ratio: number;
    };
    readonly warnings: readonly string[];
}
export declare function evaluate(model: string, text: string, options?: EvaluateOptions): Promise<EvaluateResult>;

// commands/inspect.d.ts
export interface InspectOptions extends CommandOptions {
    readonly graph?: boolean;
    readonly plan?: boolean;
    readonly cache?: CacheDtype;
    readonly attention?: AttentionProducts;
}
export interface InspectedLinear {
    readonly name: string;
    readonly in: number;
    readonly out: number;
    readonly dtype: DType;
}
export interface InspectedBlock {
    readonly name: string;
    readonly norms: readonly string[];
    readonly linears: Readonly<Record<string, InspectedLinear>>;
    readonly mixer: {
        readonly kind: string;
        readonly heads: number | null;
        readonly kvHeads: number | null;
        readonly headSize: number | null;
    };
}
export interface InspectedGraph {
    readonly blocks: readonly InspectedBlock[];
    readonly parameters: number;
    readonly bytes: number;
    readonly operators: Readonly<Record<string, number>>;
    readonly text?: string;
    readonly plan?: InspectedPlan | {
        readonly refused: string;
    };
}
export interface InspectedPlan extends DescribedPlan {
    readonly backend: 'x64' | 'wasm';
    readonly without: string | null;
}
export interface InspectResult {
    readonly type: string;
    readonly graphs: Readonly<Record<string, InspectedGraph>>;
    readonly warnings: readonly string[];
}
export declare function inspect(source: string, options?: InspectOptions): Promise<InspectResult>;

// commands/list.d.ts
export declare const listKinds: readonly ['passes', 'recipes', 'models', 'tasks', 'targets', 'operators'];
export type ListKind = (typeof listKinds)[number];
export interface Listed {
    readonly name: string;
    readonly summary: string;
    readonly source: string;
    readonly options: Readonly<Record<string, unknown>>;
}
export declare function list(kind: ListKind): Promise<Listed[]>;

// commands/load.d.ts
export type EngineName = 'ort' | 'web' | 'compiled' | 'auto';
export interface LoadOptions extends CommandOptions {
    readonly dtype?: DTypeWord;
    readonly engine?: EngineName;
    readonly cache?: CacheDtype;
    readonly attention?: AttentionProducts;
    readonly threads?: number;
}
export declare function load(model: string, options?: LoadOptions): Promise<Pipeline>;

// commands/run.d.ts
export interface RunOptions extends LoadOptions {
    readonly maxNewTokens?: number;
    readonly chat?: boolean;
    readonly seed?: number;
}
export interface TextResult {
    readonly text: string;
    readonly vector?: readonly number[];
    readonly labels?: readonly Classification[];
    readonly entities?: readonly Entity[];
    readonly generated?: string;
}
export interface RunResult {
    readonly kind: PipelineKind;
    readonly dtype: string;
    readonly engine: string;
    readonly results: readonly TextResult[];
}
export declare function run(model: string, texts: readonly string[], options?: RunOptions): Promise<RunResult>;

// commands/train.d.ts
export interface TrainCommandOptions extends CommandOptions {
    readonly recipe: string;
    readonly data: string;
    readonly evaluate?: string;
    readonly teacher?: string;
    readonly set?: readonly string[];
    readonly columns?: string;
    readonly report?: string;
    readonly seed?: number;
    readonly force?: boolean;
}
export interface TrainResult {
    readonly recipe: string;
    readonly files: readonly {
        readonly path: string;
        readonly bytes: number;
    }[];
    readonly model: {
        readonly type: string;
        readonly parameters: number;
    };
    readonly samples: number;
    readonly groups: readonly TrainedGroup[];
    readonly steps: readonly StepRecord[];
    readonly evaluations: readonly EvaluationRecord[];
    readonly best: number;
    readonly before: Figure;
    readonly after: Figure;
    readonly task?: string;
    readonly main?: {
        readonly metric: string;
        readonly better: 'higher' | 'lower';
    };
    readonly baseline?: Readonly<Record<string, number>>;
    readonly warnings: readonly string[];
}
export declare function train(source: string, out: string, options: TrainCommandOptions): Promise<TrainResult>;

// data/images.d.ts
export interface ImageFile {
    readonly folder: Folder;
    readonly path: string;
}
export type ImageSource = Image | ByteSource | string | ImageFile;
export interface ImageSample {
    readonly image: ImageSource;
    readonly label?: number | string;
}
export type Sample = TextSample | ImageSample;

// data/samples.d.ts
export interface TextSample {
    readonly texts: readonly string[];
    readonly label?: number | string;
}
export interface SampleSet<Sample = TextSample> {
    readonly samples: readonly Sample[];
    readonly notes: readonly string[];
}

// engine/compiled/plan/describe.d.ts
export interface DescribedStep {
    readonly kind: string;
    readonly name: string;
    readonly details: readonly string[];
    readonly rows: 'token' | 'sequence';
    readonly columns: number;
    readonly constantBytes: number;
    readonly bytesPerRow: number;
    readonly operationsPerRow: number;
}
export interface DescribedPlan {
    readonly steps: readonly DescribedStep[];
    readonly bytesPerToken: number;
    readonly bytesPerSequence: number;
    readonly cacheBytesPerToken: number;
    readonly constantBytes: number;
}

// engine/compiled/plan/steps.d.ts
export type CacheDtype = 'float32' | 'int8';
export type AttentionProducts = 'float32' | 'int8';

// engine/open.d.ts
export interface OpenOptions extends LoadOptions {
    readonly observe?: readonly string[];
}
export declare function openGraph(graph: Graph, { observe, ...options }?: OpenOptions): Promise<Session>;

// engine/session.d.ts
export type Feeds = Readonly<Record<string, NDArray>>;
export interface Output extends NDArray {
    dispose(): void;
}
export interface Port {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly (number | string)[];
}
export interface RunOptions {
    signal?: AbortSignal;
    outputs?: readonly string[];
    into?: Readonly<Record<string, NDArray>>;
}
export interface OperatorTime {
    readonly operator: string;
    readonly node: string;
    readonly calls: number;
    readonly milliseconds: number;
}
export interface TokenSequence {
    logits(ids: readonly number[], signal?: AbortSignal): Promise<Float32Array>;
    likeliest(ids: readonly number[], signal?: AbortSignal): Promise<number>;
    dispose(): void;
}
export interface Session {
    readonly engine: string;
    readonly inputs: readonly Port[];
    readonly outputs: readonly Port[];
    run(feeds: Feeds, options?: RunOptions): Promise<Record<string, Output>>;
    allocate?(elements: number): Promise<Float32Array | undefined>;
    tokenSequence?(): TokenSequence | undefined;
    profile(): Promise<OperatorTime[]>;
    dispose(): Promise<void>;
}
export interface LoadOptions {
    threads?: number;
    optimization?: 'none' | 'basic' | 'extended' | 'all';
    profile?: boolean;
    memoryPlan?: boolean;
    machineCode?: boolean;
    settings?: Readonly<Record<string, string>>;
}

// formats/source.d.ts
export interface Source {
    readonly kind: 'checkpoint' | 'gguf' | 'onnx';
    readonly name: string;
    readonly folder: Folder;
    readonly graphs: readonly string[];
    readonly path: string | null;
}

// grad/gradient.d.ts
export interface GradientOptions {
    readonly loss: Value;
    readonly wrt: readonly Value[];
    readonly stop?: Iterable<Value>;
    readonly checkpoints?: readonly Value[];
}
export declare function gradient(graph: Graph, { loss: asked, wrt, stop, checkpoints }: GradientOptions): Value[];

// ir/attribute.d.ts
export type Attribute = {
    readonly kind: 'int';
    readonly value: number | bigint;
} | {
    readonly kind: 'float';
    readonly value: number;
} | {
    readonly kind: 'string';
    readonly value: string;
} | {
    readonly kind: 'tensor';
    readonly value: Tensor;
} | {
    readonly kind: 'graph';
    readonly value: Graph;
} | {
    readonly kind: 'ints';
    readonly value: readonly (number | bigint)[];
} | {
    readonly kind: 'floats';
    readonly value: readonly number[];
} | {
    readonly kind: 'strings';
    readonly value: readonly string[];
} | {
    readonly kind: 'tensors';
    readonly value: readonly Tensor[];
} | {
    readonly kind: 'graphs';
    readonly value: readonly Graph[];
}
 | {
    readonly kind: 'reference';
    readonly value: string;
    readonly type: number;
}
 | {
    readonly kind: 'opaque';
    readonly value: Uint8Array;
    readonly type: number;
};
export type Attributes = Readonly<Record<string, Attribute>>;
export declare const string: (value: string) => Attribute;

// ir/dimension.d.ts
export type Dim = number | string;

// ir/graph.d.ts
export interface NodeOptions {
    domain?: string;
    name?: string;
    overload?: string;
    attributes?: Attributes;
    outputs?: readonly string[] | number;
    before?: Node;
    after?: Node;
}
export declare class Graph {
    name: string;
    readonly inputs: Value[];
    readonly outputs: Value[];
    readonly opsets: Map<string, number>;
    readonly notes: Map<string, string>;
    readonly parent: Graph | null;
    constructor(name?: string, parent?: Graph | null);
    get constants(): ReadonlyMap<string, Value>;
    get size(): number;
    get first(): Node | null;
    get last(): Node | null;
    nodes(): Generator<Node>;
    nodesBackwards(): Generator<Node>;
    allNodes(): Generator<Node>;
    value(name: string): Value | undefined;
    visible(name: string): Value | undefined;
    uniqueName(base: string): string;
    addInput(name: string, dtype: DType | null, shape: readonly Dim[] | null): Value;
    addConstant(name: string, tensor: Tensor): Value;
    setTensor(constant: Value, tensor: Tensor): void;
    removeConstant(value: Value): void;
    add(operator: string, inputs: readonly (Value | null)[], options?: NodeOptions): Node;
    addOutput(node: Node, index: number): Value;
    remove(node: Node): void;
    move(node: Node, place: {
        before: Node;
    } | {
        after: Node;
    }): void;
    replaceAllUses(from: Value, to: Value): void;
    replace(node: Node, value: Value): void;
    rename(value: Value, name: string): void;
    prune(): number;
    sort(): void;
    clone(parent?: Graph | null, outer?: ReadonlyMap<Value, Value>): Graph;
    extract(inputs: readonly Value[], outputs: readonly Value[]): Graph;
    _forgetCounters(): void;
    _detachAll(): void;
}

// ir/model.d.ts
export interface FunctionDefinition {
    readonly domain: string;
    readonly name: string;
    readonly overload: string;
    readonly attributes: readonly string[];
    readonly defaults?: Attributes;
    readonly body: Graph;
}
export type Config = Readonly<Record<string, unknown>>;
export declare class Model {
    readonly graphs: Map<string, Graph>;
    config: Config | null;
    readonly files: Map<string, ByteSource>;
    readonly functions: Map<string, FunctionDefinition>;
    readonly notes: Map<string, string>;
    constructor(graphs?: Iterable<[string, Graph]>, details?: {
        config?: Config | null;
        files?: Iterable<[string, ByteSource]>;
    });
    get graph(): Graph;
    get type(): string;
    clone(): Model;
}

// ir/node.d.ts
export interface Use {
    readonly node: Node;
    readonly index: number;
}
export declare class Value {
    _name: string;
    dtype: DType | null;
    shape: readonly Dim[] | null;
    tensor: Tensor | null;
     _producer: Node | null;
     readonly _uses: Set<Use>;
    constructor(name: string, dtype?: DType | null, shape?: readonly Dim[] | null);
    get name(): string;
    get producer(): Node | null;
    get uses(): ReadonlySet<Use>;
    get users(): Node[];
    get isConstant(): boolean;
}
export declare class Node {
    readonly operator: string;
    readonly domain: string;
    name: string;
    readonly overload: string;
    readonly notes: Map<string, string>;
    readonly outputs: readonly Value[];
     _graph: Graph | null;
     _previous: Node | null;
     _next: Node | null;
    constructor(operator: string, inputs: readonly (Value | null)[], outputs: readonly Value[], details: {
        domain?: string;
        name?: string;
        overload?: string;
        attributes?: Attributes;
    });
    get type(): string;
    get inputs(): readonly (Value | null)[];
    get output(): Value;
    get graph(): Graph | null;
    get attributes(): Attributes;
    get next(): Node | null;
    get previous(): Node | null;
    input(index: number): Value | null;
    setInput(index: number, value: Value | null): void;
    setAttribute(name: string, attribute: Attribute | null): void;
    get subgraphs(): readonly Graph[];
    int(name: string): number | undefined;
    int(name: string, fallback: number): number;
    float(name: string): number | undefined;
    float(name: string, fallback: number): number;
    string(name: string): string | undefined;
    string(name: string, fallback: string): string;
    ints(name: string): number[] | undefined;
    floats(name: string): readonly number[] | undefined;
    strings(name: string): readonly string[] | undefined;
    tensor(name: string): Tensor | undefined;
    _detach(): void;
}

// ir/print.d.ts
export declare function printGraph(graph: Graph, indent?: string): string;
export declare function printNode(node: Node, indent?: string): string;

// ir/tensor.d.ts
export declare abstract class Tensor {
    readonly dtype: DType;
    readonly shape: readonly number[];
    constructor(dtype: DType, shape: readonly number[]);
    get size(): number;
    get byteLength(): number;
    get elements(): Elements | null;
    abstract read(): Promise<Elements>;
    bytes(): Promise<Uint8Array>;
    array(): Promise<NDArray>;
    get blockForm(): BlockForm | null;
    blocks(): Promise<WeightBlocks | null>;
}

// ir/verify.d.ts
export declare function verify(graph: Graph, seen?: ReadonlySet<Value>): void;

// lower/capabilities.d.ts
export type TargetName = 'ort-node' | 'ort-wasm';

// lower/index.d.ts
export interface LowerOptions {
    readonly observe?: readonly string[];
}
export declare function lower(graph: Graph, target: TargetName, options?: LowerOptions): Graph;

// models/fresh.d.ts
export interface HeadOptions {
    readonly head: string;
    readonly labels?: readonly string[];
    readonly random: Random;
}

// numbers/dtype.d.ts
export declare const dtypes: {
    readonly float32: {
        readonly bits: 32;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float64: {
        readonly bits: 64;
        readonly kind: 'float';
        readonly array: Float64ArrayConstructor;
    };
    readonly float16: {
        readonly bits: 16;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly bfloat16: {
        readonly bits: 16;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float8e4m3fn: {
        readonly bits: 8;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float8e4m3fnuz: {
        readonly bits: 8;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float8e5m2: {
        readonly bits: 8;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float8e5m2fnuz: {
        readonly bits: 8;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float8e8m0: {
        readonly bits: 8;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly float4e2m1: {
        readonly bits: 4;
        readonly kind: 'float';
        readonly array: Float32ArrayConstructor;
    };
    readonly int64: {
        readonly bits: 64;
        readonly kind: 'int';
        readonly array: BigInt64ArrayConstructor;
    };
    readonly int32: {
        readonly bits: 32;
        readonly kind: 'int';
        readonly array: Int32ArrayConstructor;
    };
    readonly int16: {
        readonly bits: 16;
        readonly kind: 'int';
        readonly array: Int16ArrayConstructor;
    };
    readonly int8: {
        readonly bits: 8;
        readonly kind: 'int';
        readonly array: Int8ArrayConstructor;
    };
    readonly int4: {
        readonly bits: 4;
        readonly kind: 'int';
        readonly array: Int8ArrayConstructor;
    };
    readonly int2: {
        readonly bits: 2;
        readonly kind: 'int';
        readonly array: Int8ArrayConstructor;
    };
    readonly uint64: {
        readonly bits: 64;
        readonly kind: 'uint';
        readonly array: BigUint64ArrayConstructor;
    };
    readonly uint32: {
        readonly bits: 32;
        readonly kind: 'uint';
        readonly array: Uint32ArrayConstructor;
    };
    readonly uint16: {
        readonly bits: 16;
        readonly kind: 'uint';
        readonly array: Uint16ArrayConstructor;
    };
    readonly uint8: {
        readonly bits: 8;
        readonly kind: 'uint';
        readonly array: Uint8ArrayConstructor;
    };
    readonly uint4: {
        readonly bits: 4;
        readonly kind: 'uint';
        readonly array: Uint8ArrayConstructor;
    };
    readonly uint2: {
        readonly bits: 2;
        readonly kind: 'uint';
        readonly array: Uint8ArrayConstructor;
    };
    readonly bool: {
        readonly bits: 8;
        readonly kind: 'bool';
        readonly array: Uint8ArrayConstructor;
    };
    readonly complex64: {
        readonly bits: 64;
        readonly kind: 'complex';
        readonly array: Float32ArrayConstructor;
    };
    readonly complex128: {
        readonly bits: 128;
        readonly kind: 'complex';
        readonly array: Float64ArrayConstructor;
    };
    readonly string: {
        readonly bits: 0;
        readonly kind: 'string';
        readonly array: ArrayConstructor;
    };
};
export type DType = keyof typeof dtypes;
export type Elements = Float32Array | Float64Array | Int8Array | Uint8Array | Int16Array | Uint16Array | Int32Array | Uint32Array | BigInt64Array | BigUint64Array | string[];
export interface NDArray {
    readonly dtype: DType;
    readonly shape: readonly number[];
    readonly data: Elements;
}
export declare function ndarray(dtype: DType, shape: readonly number[], values: ArrayLike<number | bigint>): NDArray;

// numbers/weight-blocks.d.ts
export interface BlockForm {
    readonly dtype: 'uint4' | 'int8';
    readonly axis: number;
    readonly blockSize: number;
}
export interface WeightBlocks extends BlockForm {
    readonly codes: Uint8Array | Int8Array;
    readonly scales: Float32Array;
    readonly zeroPoint: number;
    readonly minimums: Float32Array | null;
}

// onnx/external-plan.d.ts
export interface ExternalData {
    file(name: string): Promise<ByteSink>;
    basename: string;
    chunkBytes?: number;
    threshold?: number;
    when?: 'needed' | 'always';
}

// onnx/external.d.ts
export type OpenExternal = (location: string) => Promise<ByteSource>;

// onnx/read.d.ts
export interface ReadOptions {
    external?: OpenExternal;
    name?: string;
}
export declare function readOnnx(source: ByteSource, options?: ReadOptions): Promise<Model>;

// onnx/write.d.ts
export interface WriteOptions {
    opset?: number;
    irVersion?: number;
    functions?: Iterable<FunctionDefinition>;
    producer?: {
        readonly name: string;
        readonly version: string;
    };
    externalData?: ExternalData;
}
export declare function writeOnnx(model: Graph | Model, sink: ByteSink, options?: WriteOptions): Promise<void>;

// ops/conformance.d.ts
export interface Failure {
    readonly case: string;
    readonly why: string;
}
export interface ConformanceReport {
    readonly passed: number;
    readonly failed: readonly Failure[];
    readonly unsupported: Readonly<Record<string, number>>;
}

// passes/index.d.ts
export declare const passes: readonly Pass[];

// passes/pass.d.ts
export interface Refusal {
    readonly what: string;
    readonly why: string;
}
export interface PassResult {
    readonly changed: number;
    readonly refused?: readonly Refusal[];
    readonly details?: readonly Readonly<Record<string, string | number>>[];
}
export interface PassContext extends CollectContext {
    readonly calibration: Calibration | null;
    readonly original?: Model;
    readonly random: Random;
}
export interface Pass<Options = unknown> {
    readonly name: string;
    readonly summary: string;
    readonly source: string;
    readonly options: z.ZodType<Options>;
    readonly needs: {
        readonly calibration?: boolean;
        readonly original?: boolean;
    };
    readonly usesCalibration?: boolean;
    readonly exact: boolean;
    run(model: Model, options: Options, context: PassContext): Promise<PassResult>;
}
export declare function definePass<Schema extends z.ZodType>(pass: Omit<Pass<z.output<Schema>>, 'options'> & {
    options: Schema;
}): Pass<z.output<Schema>>;

// pipelines/batching.d.ts
export interface BatchRunOptions {
    readonly batchSize?: number;
    readonly signal?: AbortSignal;
    readonly onBatch?: (texts: number) => void;
}

// pipelines/classify.d.ts
export interface Classification {
    readonly label: string;
    readonly score: number;
}

// pipelines/encoding.d.ts
export interface Encoded {
    readonly ids: readonly number[];
    readonly types: readonly number[];
    readonly special: readonly number[];
}
export interface Encoding {
    readonly input_ids: NDArray;
    readonly attention_mask: NDArray;
    readonly token_type_ids: NDArray;
    readonly special_tokens_mask: NDArray;
    readonly lengths: readonly number[];
    readonly side: PaddingSide;
}
export type PaddingSide = 'left' | 'right';

// pipelines/generate.d.ts
export interface GenerateIdsOptions extends SamplingOptions {
    readonly maxNewTokens?: number;
    readonly stopIds?: ReadonlySet<number>;
    readonly seed?: number;
    readonly signal?: AbortSignal;
}
export interface GenerateOptions extends Omit<GenerateIdsOptions, 'stopIds'> {
    readonly stop?: readonly string[];
    readonly onText?: (piece: string) => void;
}

// pipelines/image-processor.d.ts
interface Size {
    readonly height: number;
    readonly width: number;
}
export interface ImageShape extends Size {
    readonly channels: number;
}
export declare class ImageProcessor {
    readonly shape: ImageShape;
    constructor(settings: Config, shape: ImageShape);
    pixels(images: readonly Image[]): NDArray;
}

// pipelines/load.d.ts
export declare const dtypeSuffixes: {
    readonly fp32: '';
    readonly q8: '_quantized';
    readonly int8: '_int8';
    readonly uint8: '_uint8';
    readonly q4: '_q4';
    readonly q4f16: '_q4f16';
    readonly fp16: '_fp16';
};
export type DTypeWord = keyof typeof dtypeSuffixes;

// pipelines/pipeline.d.ts
export interface PipelineParts {
    readonly name: string;
    readonly session: Session;
    readonly tokenizer: Tokenizer | null;
    readonly config: Config;
    readonly generationConfig: Config;
    readonly pooling: Pooling;
    readonly imageSettings?: Config;
}
export type PipelineKind = 'embed' | 'classify' | 'classify-images' | 'classify-tokens' | 'fill-mask' | 'generate';
export declare class Pipeline implements PipelineParts {
    readonly name: string;
    readonly session: Session;
    readonly config: Config;
    readonly generationConfig: Config;
    readonly pooling: Pooling;
    constructor(parts: PipelineParts);
    get tokenizer(): Tokenizer;
    get imageProcessor(): ImageProcessor;
    get kind(): PipelineKind;
    embed(texts: readonly string[], options?: BatchRunOptions): Promise<Float32Array[]>;
    classify(texts: readonly TextOrPair[], options?: BatchRunOptions): Promise<Classification[][]>;
    classifyLogits(texts: readonly TextOrPair[], options?: BatchRunOptions): Promise<Float32Array[]>;
    classifyImages(images: readonly ImageSource[], options?: BatchRunOptions): Promise<Classification[][]>;
    classifyImageLogits(images: readonly ImageSource[], options?: BatchRunOptions): Promise<Float32Array[]>;
    findEntities(texts: readonly string[], options?: BatchRunOptions): Promise<Entity[][]>;
    generate(prompt: string | readonly Message[], options?: GenerateOptions): Promise<string>;
    stream(prompt: string | readonly Message[], options?: GenerateOptions): AsyncGenerator<string>;
    dispose(): Promise<void>;
}

// pipelines/pooling.d.ts
export type PoolingMode = 'cls' | 'max' | 'mean' | 'mean-sqrt-length' | 'weighted-mean' | 'last-token';
export interface DenseLayer {
    readonly weight: NDArray;
    readonly bias?: NDArray;
    readonly activation: 'identity' | 'tanh';
}
export interface Pooling {
    readonly modes: readonly PoolingMode[];
    readonly dense: readonly DenseLayer[];
    readonly normalize: boolean;
}

// pipelines/sampling.d.ts
export interface SamplingOptions {
    readonly temperature?: number;
    readonly topK?: number;
    readonly topP?: number;
    readonly minP?: number;
    readonly repetitionPenalty?: number;
}

// pipelines/stream-decoder.d.ts
export declare class StreamDecoder {
    constructor(decode: (ids: readonly number[]) => string, context?: readonly number[]);
    push(id: number): string;
    end(): string;
}

// pipelines/token-classify.d.ts
export interface Entity {
    readonly label: string;
    readonly score: number;
    readonly text: string;
    readonly start: number;
    readonly end: number;
}

// pipelines/tokenizer.d.ts
export type TextOrPair = string | readonly [string, string];
export interface Message {
    readonly role: string;
    readonly content: string;
}
export interface EncodeOptions {
    readonly maxLength?: number;
    readonly specialTokens?: boolean;
}
export interface BatchOptions extends EncodeOptions {
    readonly padding?: 'longest' | number;
    readonly side?: PaddingSide;
}
export interface TokenizerLimits {
    readonly maxLength?: number;
    readonly chatTemplate?: string;
}
type Settings = Readonly<Record<string, unknown>>;
export declare class Tokenizer {
    readonly maxLength: number;
    readonly side: PaddingSide;
    readonly padId: number;
    readonly eosId: number | undefined;
    readonly specialIds: ReadonlySet<number>;
    constructor(definition: object, config?: Settings, limits?: TokenizerLimits);
    get vocabularySize(): number;
    idOf(token: string): number | undefined;
    tokenOf(id: number): string | undefined;
    get canChat(): boolean;
    encodeOne(text: TextOrPair, options?: EncodeOptions): Encoded;
    wrap(ids: readonly number[], options?: EncodeOptions): Encoded;
    encode(texts: readonly TextOrPair[], { padding, side, ...options }?: BatchOptions): Encoding;
    ids(text: string, { specialTokens }?: {
        specialTokens?: boolean;
    }): number[];
    decode(ids: readonly number[], { specialTokens }?: {
        specialTokens?: boolean;
    }): string;
    streamDecoder(context?: readonly number[]): StreamDecoder;
    chat(messages: readonly Message[], { generationPrompt }?: {
        generationPrompt?: boolean;
    }): string;
}

// raise/import.d.ts
export interface Imported {
    readonly model: Model;
    readonly source: Source;
    readonly warnings: readonly string[];
    readonly added: readonly string[];
}
export declare function importModel(text: string | Folder | Source, { head }?: ImportOptions): Promise<Imported>;
export interface ImportOptions {
    readonly head?: HeadOptions;
}

// raise/index.d.ts
export declare function raise(graph: Graph): Map<string, number>;

// recipes/presets.d.ts
export declare const presetNames: readonly ['int8', 'int8-dynamic', 'int8-static', 'int4', 'fp16'];
export declare function preset(name: string, changes?: readonly string[]): Promise<Recipe>;

// recipes/run.d.ts
export interface RunContext extends Omit<PassContext, 'random'> {
    readonly seed: number;
    readonly store: StepStore | null;
}
export interface StepStore {
    load(recipe: Recipe, index: number): Promise<{
        model: Model;
        reports: readonly StepReport[];
    } | null>;
    save(recipe: Recipe, index: number, model: Model, reports: readonly StepReport[]): Promise<void>;
}
export interface StepReport {
    readonly pass: string;
    readonly changed: number;
    readonly refused: readonly Refusal[];
    readonly seconds: number;
    readonly difference?: number;
    readonly details?: PassResult['details'];
}
export declare function runRecipe(model: Model, recipe: Recipe, context: RunContext): Promise<StepReport[]>;

// recipes/schema.d.ts
export interface RecipeStep {
    readonly pass: Pass;
    readonly options: unknown;
    readonly optional: boolean;
}
export interface Recipe {
    readonly name: string;
    readonly summary: string;
    readonly dtype: DTypeWord;
    readonly architectures: readonly string[] | null;
    readonly withoutCalibration: string | null;
    readonly steps: readonly RecipeStep[];
    readonly text: string;
}
export declare function parseRecipe(text: string, where: string, changes?: readonly string[]): Recipe;

// report/report.d.ts
export interface Rate {
    readonly value: number;
    readonly unit: string;
}
export interface MeasuredFigure extends Figure {
    readonly rate?: Rate;
}
export interface BlockFigure {
    readonly block: string;
    readonly sqnr: number | null;
    readonly cosine: number;
}
export interface Report {
    readonly model: {
        readonly type: string;
        readonly parameters: number;
    };
    readonly dtype: DTypeWord;
    readonly files: readonly {
        readonly path: string;
        readonly bytes: number;
    }[];
    readonly steps: readonly StepReport[];
    readonly before: MeasuredFigure;
    readonly after: MeasuredFigure;
    readonly task?: string;
    readonly samples?: number;
    readonly baseline?: Readonly<Record<string, number>>;
    readonly blocks?: readonly BlockFigure[];
    readonly warnings: readonly string[];
    readonly origin: Omit<Provenance, 'figures'>;
}

// targets/provenance.d.ts
export interface Provenance {
    readonly source: {
        readonly name: string;
        readonly files: readonly {
            readonly path: string;
            readonly bytes: number;
            readonly sha256: string;
        }[];
    };
    readonly recipe: {
        readonly name: string;
        readonly summary: string;
        readonly text: string;
        readonly changes: readonly string[];
    } | null;
    readonly calibration: {
        readonly origin: string;
        readonly samples: number;
        readonly hash: string;
    } | null;
    readonly seed: number;
    readonly versions: Readonly<Record<string, string>>;
    readonly figures: Figures;
}
export interface Figures {
    readonly task?: string;
    readonly samples?: number;
    readonly baseline?: Readonly<Record<string, number>>;
    readonly before: Figure;
    readonly after: Figure;
}
export interface Figure {
    readonly bytes: number;
    readonly metrics: Readonly<Record<string, number>>;
}

// targets/transformersjs.d.ts
export interface TransformersJsOptions {
    readonly dtype: DTypeWord;
    readonly keepFp32?: Model;
    readonly details: Omit<Provenance, 'figures'> & {
        readonly figures: Omit<Provenance['figures'], 'after'> & {
            readonly after: Pick<Figure, 'metrics'>;
        };
    };
    readonly signal?: AbortSignal;
}
export interface Written {
    readonly files: readonly {
        readonly path: string;
        readonly bytes: number;
    }[];
    readonly bytes: number;
}
export declare function writeTransformersJs(model: Model, into: WritableFolder, options: TransformersJsOptions): Promise<Written>;

// tasks/agreement.d.ts
export declare const agreement: {
    name: string;
    summary: string;
    samples(source: ByteSource, original: Pipeline, options?: SampleOptions): Promise<SampleSet>;
    evaluate(original: Pipeline, compressed: Pipeline, samples: readonly Sample[], options?: EvaluateOptions): Promise<Evaluation>;
};

// tasks/index.d.ts
export declare const tasks: ReadonlyMap<string, Task>;

// tasks/task.d.ts
export interface SampleOptions {
    readonly columns?: string;
    readonly folder?: Folder;
}
export interface EvaluateOptions {
    readonly progress?: Progress;
    readonly signal?: AbortSignal;
    readonly batchSize?: number;
    readonly tokens?: number;
    readonly window?: number;
}
export interface Evaluation {
    readonly samples: number;
    readonly metrics: Readonly<Record<string, number>>;
    readonly baselines: Readonly<Record<string, number>>;
}
export interface Task<S extends Sample = Sample> {
    readonly name: string;
    readonly summary: string;
    readonly main: {
        readonly metric: string;
        readonly better: 'higher' | 'lower';
    };
    samples(source: ByteSource, options?: SampleOptions): Promise<SampleSet<S>>;
    samplesIn?(folder: Folder): Promise<SampleSet<S>>;
    evaluate(pipeline: Pipeline, samples: readonly S[], options?: EvaluateOptions): Promise<Evaluation>;
}

// train/history.d.ts
export interface StepRecord {
    readonly step: number;
    readonly loss: number;
    readonly gradientNorm: number;
    readonly learningRate: number;
    readonly seconds: number;
    readonly copiedBytes: number;
}
export interface EvaluationRecord {
    readonly step: number;
    readonly metrics: Readonly<Record<string, number>>;
}

// train/trainer.d.ts
export interface TrainedGroup {
    readonly examples: readonly string[];
    readonly tensors: number;
    readonly parameters: number;
    readonly rate: number;
    readonly weightDecay: number;
}

// tinsmith/load has of these:
// export { openFolder } from '#platform'
// export { type ErrorCode, TinsmithError } from './base/errors.js'
// export { type EngineName, type LoadedModel, type LoadOptions, load, loadModel } from './commands/load.js'
// export type { Classification, DTypeWord, Entity, GenerateOptions, Message, Pipeline, TextOrPair, Tokenizer } from './pipelines/index.js'
