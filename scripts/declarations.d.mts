export class Declarations {
  constructor(root: string)
  exportsOf(file: string): Map<string, { readonly file?: string; readonly package?: string; readonly name: string }>
  report(entry: string): string
}
