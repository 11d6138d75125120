import { createHash } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { MemoryFolder, readText } from '../../src/base/bytes.js'
import { Cache } from '../../src/base/cache.js'
import { openCheckpoint } from '../../src/formats/checkpoint.js'
import { openGguf } from '../../src/formats/gguf.js'
import { hubFolder, isHubId } from '../../src/formats/hub.js'
import { writeSafetensors } from '../../src/formats/safetensors.js'
import { resolveSource } from '../../src/formats/source.js'
import { ArrayTensor } from '../../src/ir/tensor.js'
import { errorOf } from '../support/errors.js'
import { ggufBytes, text } from '../support/gguf.js'

let work: string
beforeEach(() => {
  work = fs.mkdtempSync(path.join(os.tmpdir(), 'tinsmith-test-'))
})
afterEach(() => fs.rmSync(work, { recursive: true, force: true }))

/** A hub of one repository, which notes what it is asked. */
async function fakeHub() {
  const weights = new MemoryFolder()
  const tensor = new ArrayTensor(
    'float32',
    [5000],
    Float32Array.from({ length: 5000 }, (_, i) => i),
  )
  await writeSafetensors(await weights.create('w'), new Map([['a', tensor]]))
  const files = new Map<string, Uint8Array>([
    ['config.json', new TextEncoder().encode('{"model_type": "bert"}')],
    ['model.safetensors', weights.files.get('w')!],
    ['empty.txt', new Uint8Array(0)],
  ])
  const asked: string[] = []
  const answer = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const url = new URL(input instanceof Request ? input.url : input)
    const range = new Headers(init?.headers).get('range')
    asked.push(`${url.pathname} ${range ?? ''}`.trim())
    if (!url.pathname.includes('/owner/name/')) return Response.json({ error: 'Repository not found' }, { status: 404 })
    if (url.pathname.startsWith('/api/')) return page(url, [...files].map(describeFile))
    const bytes = files.get(url.pathname.split('/').at(-1)!)!
    const [start, end] = (range?.slice(6).split('-') ?? [0, bytes.length - 1]).map(Number)
    const headers = { ETag: '"tag"', 'Content-Range': `bytes ${start}-${end}/${bytes.length}` }
    return new Response(bytes.slice(start, end + 1), { status: range ? 206 : 200, headers })
  }
  return { files, asked, tensor, options: { fetch: answer as typeof fetch, cache: new Cache('hub', { path: work }), token: '' } }
}

/** A list of one entry a page. */
function page(url: URL, entries: unknown[]): Response {
  const at = Number(url.searchParams.get('cursor') ?? 0)
  const next = new URL(url)
  next.searchParams.set('cursor', String(at + 1))
  return Response.json([entries[at]], { headers: at + 1 < entries.length ? { Link: `<${next}>; rel="next"` } : {} })
}

function describeFile([name, bytes]: [string, Uint8Array]) {
  const oid = createHash('sha256').update(bytes).digest('hex')
  const lfs = name.endsWith('.safetensors') ? { oid, size: bytes.length, pointerSize: 100 } : undefined
  return { type: 'file', path: name, size: bytes.length, oid: oid.slice(0, 40), lfs }
}

describe('hubFolder', () => {
  it('reads a checkpoint: first its header by ranges, then whole, then from the cache', async () => {
    const { asked, tensor, options } = await fakeHub()
    const folder = await hubFolder('owner/name@v1', options)
    expect(await folder.list()).toEqual(['config.json', 'empty.txt', 'model.safetensors'])
    expect(asked).toEqual(Array(3).fill('/api/models/owner/name/tree/v1'))
    const checkpoint = await openCheckpoint(folder)
    expect(checkpoint.config).toEqual({ model_type: 'bert' })
    expect(await readText(folder, 'empty.txt')).toBe('')
    const whole = () => asked.filter((line) => /model\.safetensors$/.test(line))
    expect(whole()).toEqual([])
    expect(await checkpoint.tensors.get('a')!.bytes()).toEqual(await tensor.bytes())
    const before = asked.length
    const again = await openCheckpoint(await hubFolder('owner/name@v1', options))
    expect(await again.tensors.get('a')!.bytes()).toEqual(await tensor.bytes())
    expect(asked.slice(before)).toEqual(Array(3).fill('/api/models/owner/name/tree/v1'))
  })

  it('finds a GGUF file in a repository, and the only one of a repository', async () => {
    const { files, asked, options } = await fakeHub()
    files.delete('model.safetensors')
    files.set('model.gguf', ggufBytes({ metadata: [['general.architecture', text('llama')]] }))
    for (const name of ['owner/name/model.gguf', 'owner/name']) {
      const { kind, folder, graphs } = await resolveSource(name, options)
      expect([kind, graphs]).toEqual(['gguf', ['model.gguf']])
      expect((await openGguf(folder, graphs)).metadata.get('general.architecture')).toBe('llama')
    }
    expect(asked.filter((line) => line.endsWith('model.gguf')).length).toBeLessThanOrEqual(2)
    expect((await errorOf(resolveSource('owner/name/modl.gguf', options))).sentence).toContain('Did you mean "model.gguf"?')
  })

  it('refuses a file that does not arrive whole, and keeps nothing of it', async () => {
    const { files, options } = await fakeHub()
    const folder = await hubFolder('owner/name', options)
    const source = await folder.open('model.safetensors')
    files.get('model.safetensors')![100] ^= 1
    expect((await errorOf(source.read(0, source.size))).sentence).toContain('did not arrive whole')
    expect(fs.readdirSync(work)).toEqual([])
  })

  it('answers in sentences when there is nothing or nobody', async () => {
    const { options } = await fakeHub()
    const absent = await errorOf(hubFolder('owner/other', options))
    expect([absent.code, absent.sentence]).toEqual(['bad-input', 'owner/other: the hub has no such repository, or no revision main of it.'])
    const folder = await hubFolder('owner/name', options)
    expect((await errorOf(folder.open('confg.json'))).sentence).toContain('Did you mean "config.json"?')
    expect((await errorOf(folder.open('../config.json'))).sentence).toContain('leads out of the folder')
    const offline = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('getaddrinfo ENOTFOUND huggingface.co') }))
    const unreachable = await errorOf(hubFolder('owner/name', { ...options, fetch: offline }))
    expect(unreachable.code).toBe('failed')
    expect(unreachable.sentence).toBe(
      'owner/name: the hub cannot be reached (getaddrinfo ENOTFOUND huggingface.co). Check the network, or give a folder that lies on this machine.',
    )
  })
})

it('knows the form of a hub id', () => {
  for (const id of ['owner/name', 'sentence-transformers/all-MiniLM-L6-v2', 'o/n@main', 'o/n@refs/pr/1']) expect(isHubId(id)).toBe(true)
  for (const id of ['name', '/owner/name', './owner/name', '../name', 'a/b/c', 'a/', 'C:\\a/b', 'a b/c']) expect(isHubId(id)).toBe(false)
})
