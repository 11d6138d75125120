// First vector of a checkpoint's folder.
import { load } from 'tinsmith'

const [folder, text] = process.argv.slice(2)
const pipeline = await load(folder)
const [vector] = await pipeline.embed([text])
process.stdout.write(JSON.stringify([...vector]), () => process.exit(0))
