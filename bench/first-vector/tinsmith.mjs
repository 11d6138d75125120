// First vector of a model's folder. tinsmith.mjs FOLDER TEXT [ENGINE]
import { load } from 'tinsmith/load'

const [folder, text, engine] = process.argv.slice(2)
const pipeline = await load(folder, { engine })
const [vector] = await pipeline.embed([text])
process.stdout.write(JSON.stringify([...vector]), () => process.exit(0))
