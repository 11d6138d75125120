import { runCommandLine } from './program.js'

// Native threads of a runtime may outlive their work, so the process does not wait for them.
process.exit(await runCommandLine(process.argv.slice(2)))
