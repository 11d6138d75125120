export function readRooms(text: string): string[]
export function checkRooms(
  files: ReadonlyMap<string, string>,
  rooms: readonly string[],
  aliases: Readonly<Record<string, Readonly<Record<string, string>>>>,
): string[]
export function checkProject(root: string): string[]
