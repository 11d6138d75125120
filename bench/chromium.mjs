// Contestants in Chromium: a page each, isolated so that WebAssembly has threads.
import fs from 'node:fs'
import { createServer } from 'node:http'
import path from 'node:path'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import { root } from './support.mjs'

const flags = ['--no-sandbox', '--disable-gpu', '--disable-renderer-backgrounding', '--disable-background-timer-throttling']

/**
 * Opens the browser. The folders are served below their names.
 *
 * @param work a folder to write to
 * @param script of the pages: defines a function `open` of a job, which makes a function `ask` of a line, both global
 * @param folders paths by name
 * @throws Error where there is no Chromium; `CHROMIUM` says where it is
 */
export async function openChromium(work, script, folders) {
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
  if (!fs.existsSync(executablePath)) throw new Error(`there is no Chromium at ${executablePath}; CHROMIUM says where it is`)
  const page = path.join(work, 'page')
  await bundle(script, page)
  const server = await serve({ page, ...folders })
  const browser = await chromium.launch({ executablePath, args: ['--headless', ...flags] })
  return {
    version: browser.version(),
    contestant: (job) => openPage(browser, server.origin, job),
    close: async () => {
      await browser.close()
      server.close()
    },
  }
}

async function bundle(script, out) {
  await build({
    entryPoints: { page: script, worker: path.join(root, 'dist/engine/compiled/wasm/worker.js') },
    outdir: out,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    conditions: ['browser', 'onnxruntime-web-use-extern-wasm'],
    tsconfigRaw: {},
    minify: true,
    logLevel: 'error',
  })
  fs.writeFileSync(
    path.join(out, 'index.html'),
    '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/page/page.js"></script>',
  )
}

async function openPage(browser, origin, job) {
  const page = await browser.newPage()
  page.setDefaultTimeout(0)
  page.on('console', (message) => message.type() === 'error' && console.error(message.text()))
  await page.goto(`${origin}/page/index.html`)
  await page.evaluate((given) => globalThis.open(given), job)
  return { ask: (line) => page.evaluate((words) => globalThis.ask(words), line), end: () => page.close() }
}

/** Paths of all files in a folder. */
export const filesOf = (folder) =>
  fs.readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    return entry.isFile() ? [path.relative(folder, path.join(entry.parentPath, entry.name))] : []
  })

async function serve(folders) {
  const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' }
  const server = createServer(({ url }, response) => {
    const [first, ...rest] = new URL(url, 'http://localhost').pathname.slice(1).split('/')
    const file = folders[first] && path.join(folders[first], ...rest)
    if (!file || !fs.existsSync(file)) return response.writeHead(404).end()
    const headers = { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' }
    response.writeHead(200, { ...headers, 'content-type': types[path.extname(file)] ?? 'application/octet-stream' })
    fs.createReadStream(file).pipe(response)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() }
}
