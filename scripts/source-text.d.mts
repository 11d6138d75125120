/** What a source imports: `dynamic` where it does so when it needs it. */
export function importsOf(source: string): { name: string; typeOnly: boolean; dynamic: boolean }[]
