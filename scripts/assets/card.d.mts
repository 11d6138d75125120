export function cardOf(name: string, quality: unknown): string
