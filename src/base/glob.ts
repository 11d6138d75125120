/**
 * A glob over dotted names as a pattern: `*` matches within one part, `**` across parts, `?` one character.
 *
 * @example
 * globPattern('encoder.*.weight').test('encoder.norm.weight') // true
 */
export function globPattern(glob: string): RegExp {
  const parts = glob
    .split(/(\*\*|\*|\?)/)
    .map((part) => (part === '**' ? '.*' : part === '*' ? '[^.]*' : part === '?' ? '[^.]' : part.replace(/[.+^${}()|[\]\\]/g, '\\$&')))
  return new RegExp(`^${parts.join('')}$`)
}
