import { runCommandLine } from './program.js'

// A reader that is gone (`tinsmith list operators | head`) is no error.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

// Native threads of a runtime may outlive their work, so the process does not wait for them.
void runCommandLine(process.argv.slice(2), process).then((code) => process.exit(code))
