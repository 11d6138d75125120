export function sourceAliases(condition: 'default' | 'browser'): Record<string, string>
