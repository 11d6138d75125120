import { decodeBytes } from './decode.js'
import { encodeBytes } from './encode.js'
import type { AnnotationProto, EntryProto, TypeProto } from './schema.js'
import { typeProto } from './schema.js'

/**
 * What ONNX has fields for and the graph has none is kept among the notes under names that begin so, and goes back into
 * its field; all other notes are metadata_props.
 */
const prefix = 'onnx:'
const typePrefix = `${prefix}type:`
const annotationPrefix = `${prefix}quantization:`

type Notes = Map<string, string>
type ReadonlyNotes = ReadonlyMap<string, string>

/** Fields of a model, graph or node that are plain texts. */
export type NotedField = 'doc' | 'producerName' | 'producerVersion' | 'domain' | 'modelVersion'

export function noteField(notes: Notes, field: NotedField, value: string | undefined): void {
  if (value) notes.set(prefix + field, value)
}

export function notedField(notes: ReadonlyNotes, field: NotedField): string | undefined {
  return notes.get(prefix + field)
}

export function noteMetadata(notes: Notes, entries: readonly EntryProto[]): void {
  for (const { key, value } of entries) if (key && !key.startsWith(prefix)) notes.set(key, value ?? '')
}

export function notedMetadata(notes: ReadonlyNotes): EntryProto[] {
  return [...notes].flatMap(([key, value]) => (key.startsWith(prefix) ? [] : [{ key, value }]))
}

/** Keeps the type of a value that is no tensor (a sequence, a map, an optional). */
export function noteType(notes: Notes, value: string, type: TypeProto): void {
  notes.set(typePrefix + value, [...encodeBytes(typeProto, type)].map((byte) => byte.toString(16).padStart(2, '0')).join(''))
}

export function notedType(notes: ReadonlyNotes, value: string): TypeProto | undefined {
  const hex = notes.get(typePrefix + value)
  if (hex === undefined) return undefined
  return decodeBytes(
    typeProto,
    Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16)),
  )
}

/** Keeps the names of the scale and zero point that a value is annotated with. */
export function noteAnnotation(notes: Notes, annotation: AnnotationProto): void {
  if (annotation.tensorName)
    notes.set(
      annotationPrefix + annotation.tensorName,
      JSON.stringify(annotation.parameters.map(({ key, value }) => [key ?? '', value ?? ''])),
    )
}

export function notedAnnotations(notes: ReadonlyNotes): AnnotationProto[] {
  return [...notes].flatMap(([note, text]) => {
    if (!note.startsWith(annotationPrefix)) return []
    const pairs = JSON.parse(text) as [string, string][]
    return [{ tensorName: note.slice(annotationPrefix.length), parameters: pairs.map(([key, value]) => ({ key, value })) }]
  })
}
