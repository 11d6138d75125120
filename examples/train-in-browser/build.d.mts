/** Makes the page in a folder. */
export function buildPage(out: string): Promise<void>
