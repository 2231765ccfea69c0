// The cases of OpenAI's JavaScript SDK. usage: openai_node.mjs BASE_URL KEY FAKE_PORT
// The SDK comes from where ./run has installed it: the working directory.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const { default: OpenAI } = await import(pathToFileURL(createRequire(process.cwd() + '/').resolve('openai')).href)
const [baseURL, apiKey, port] = process.argv.slice(2)
const client = new OpenAI({ baseURL, apiKey, timeout: 30000 })

const MODEL = 'gpt-4o-mini'
const HELLO = [
  { role: 'system', content: 'Breve.' },
  { role: 'user', content: '¿Qué ves? 👀' },
]
const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='
const CALL = { id: 'call_1', type: 'function', function: { name: 'temperature', arguments: '{"place":"Cádiz"}' } }
const TOOL = {
  type: 'function',
  function: {
    name: 'temperature',
    description: 'Of a place, in °C',
    parameters: { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] },
  },
}

const fake = {
  async call(path, body) {
    const options = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) }
    return (await fetch(`http://127.0.0.1:${port}/_admin/${path}`, options)).json()
  },
  reset: () => fake.call('reset', {}),
  script: (...steps) => fake.call('script', steps),
  requests: async () => (await fake.call('requests?since=0')).requests,
  async waitUntilLeft() {
    for (const end = Date.now() + 5000; Date.now() < end; await new Promise(next => setTimeout(next, 10)))
      if ((await fake.requests()).some(r => r.client_left)) return true
    return false
  },
  async chatBodies() {
    const bodies = (await fake.requests()).filter(r => r.path === '/v1/chat/completions').map(r => [r.body, r.body_bytes])
    return [...new Map(bodies.map(b => [b[0], b])).values()]
  },
}

// Without what is new each time, and without null: a member that is not there reads the same.
function scrub(value) {
  if (Array.isArray(value)) return value.map(scrub)
  if (value === null || typeof value !== 'object') return value
  const kept = Object.entries(value).filter(
    ([k, v]) => v !== null && v !== undefined && !['id', 'created', 'obfuscation', '_request_id'].includes(k),
  )
  return Object.fromEntries(kept.map(([k, v]) => [k, scrub(v)]))
}

async function failure(call) {
  try {
    await call()
  } catch (e) {
    if (e instanceof OpenAI.APIError)
      return {
        class: e.constructor.name,
        status: e.status,
        message: e.message,
        code: e.code,
        type: e.type,
        param: e.param,
        retry_after: e.headers?.get('retry-after'),
        has_request_id: Boolean(e.requestID),
      }
    return { class: e.constructor.name, message: String(e.message) }
  }
  return { class: null }
}

const completion = (message, finish_reason = 'stop') => ({
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1,
  model: MODEL,
  choices: [{ index: 0, message, logprobs: null, finish_reason }],
  usage: { prompt_tokens: 30, completion_tokens: 8, total_tokens: 38 },
})

function events(...deltas) {
  const chunk = (delta, i) => ({
    id: 'chatcmpl-1',
    object: 'chat.completion.chunk',
    created: 1,
    model: MODEL,
    choices: [{ index: 0, delta, finish_reason: i === deltas.length - 1 ? 'tool_calls' : null }],
  })
  const body = deltas.map((d, i) => `data: ${JSON.stringify(chunk(d, i))}\n\n`).join('') + 'data: [DONE]\n\n'
  return { body, content_type: 'text/event-stream' }
}

const CALL_IN_PIECES = events(
  { role: 'assistant', tool_calls: [{ index: 0, ...CALL, function: { name: 'temperature', arguments: '' } }] },
  { tool_calls: [{ index: 0, function: { arguments: '{"place":' } }] },
  { tool_calls: [{ index: 0, function: { arguments: '"Cádiz"}' } }] },
  {},
)

const ask = (more, options) => client.chat.completions.create({ model: MODEL, messages: HELLO, ...more }, options)
const once = { maxRetries: 0 }

async function chunks(more) {
  const all = []
  for await (const chunk of await ask({ stream: true, ...more })) all.push(scrub(chunk))
  return all
}

async function failing(step, more) {
  await fake.script({ ...step, repeat: 100 })
  return failure(() => ask(more, once))
}

const cases = {
  chat: async () => scrub(await ask()),
  images: async () =>
    scrub(
      await ask({
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: PIXEL } }, { type: 'text', text: '¿Y esto?' }] }],
      }),
    ),
  unknown_fields: () => failure(() => ask({ inventado: { a: [1, 'ñ', null] } })),
  raw_response: async () => {
    const { data, response, request_id } = await ask().withResponse()
    return [scrub(data), response.status, response.headers.get('content-type'), Boolean(request_id)]
  },
  tools: async () => {
    await fake.script({ object: completion({ role: 'assistant', content: null, tool_calls: [CALL] }, 'tool_calls') }, { content: '21 °C' })
    const called = []
    const runner = client.chat.completions.runTools({
      model: MODEL,
      messages: HELLO,
      tools: [{ type: 'function', function: { ...TOOL.function, parse: JSON.parse, function: a => (called.push(a), '21') } }],
    })
    return [await runner.finalContent(), called, scrub(runner.messages)]
  },
  stream: () => chunks(),
  stream_with_usage: () => chunks({ stream_options: { include_usage: true } }),
  stream_of_tools: async () => {
    await fake.script(CALL_IN_PIECES)
    return chunks({ tools: [TOOL] })
  },
  stream_helper: async () => {
    await fake.script({ content: 'uno dos tres' })
    const seen = []
    const stream = client.chat.completions.stream({ model: MODEL, messages: HELLO })
    stream.on('content', delta => seen.push(delta))
    return [scrub(await stream.finalChatCompletion()), seen]
  },
  stream_left: async () => {
    await fake.script({ content: 'uno dos tres '.repeat(1000), tokens_per_second: 20 })
    let first
    for await (const chunk of await ask({ stream: true })) {
      first = scrub(chunk)
      break
    }
    return [first, await fake.waitUntilLeft()]
  },
  stream_aborted: async () => {
    await fake.script({ content: 'uno dos tres '.repeat(1000), tokens_per_second: 20 })
    const stream = await ask({ stream: true })
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) stream.controller.abort()
    }
    return fake.waitUntilLeft()
  },
  stream_error_before_it: () => failing({ error: 'context' }, { stream: true }),
  many: async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask({ user: `node-${i}` })))
    return [answers.length, scrub(answers[0]), new Set(answers.map(a => JSON.stringify(scrub(a)))).size]
  },
  refused_parameter: () => failure(() => ask({ temperature: 7 })),
  unknown_model: () => failure(() => ask({ model: 'no-such-model' })),
  context_too_long: () => failing({ error: 'context' }),
  rate_limit: () => failing({ error: 'rate_limit', retry_after: 1 }),
  quota: () => failing({ error: 'quota' }),
  server_error: () => failing({ status: 500 }),
  provider_refuses_the_key: () => failing({ error: 'invalid_api_key' }),
  wrong_key: () => failure(() => client.withOptions({ apiKey: 'sk-wrong-0000-1111-2222' }).chat.completions.create({ model: MODEL, messages: HELLO })),
  our_limit: async () => {
    await fake.script({ content: 'a' }, { error: 'rate_limit', retry_after: 30 })
    await ask({ user: 'limited-node' })
    return failure(() => ask({ user: 'limited-node' }, once))
  },
  retried: async () => {
    await fake.script({ error: 'rate_limit', retry_after_ms: 20 }, { status: 500, retry_after_ms: 20 }, { content: 'al fin' })
    return scrub(await ask())
  },
  timeout: async () => {
    await fake.script({ stall: true, repeat: 100 })
    return [await failure(() => ask({}, { ...once, timeout: 500 })), await fake.waitUntilLeft()]
  },
  without_messages: () => failure(() => ask({ messages: undefined })),
  empty_messages: () => failure(() => ask({ messages: [] })),
  models: async () => {
    const found = []
    for await (const m of client.models.list()) if (m.id === MODEL) found.push({ ...scrub(m), id: m.id })
    return found
  },
  one_model: async () => {
    const m = await client.models.retrieve(MODEL)
    return { ...scrub(m), id: m.id }
  },
  no_such_model: () => failure(() => client.models.retrieve('none/such')),
  other_endpoints: () => failure(() => client.embeddings.create({ model: 'text-embedding-3-small', input: 'hola' })),
}

const outcomes = {}
for (const [name, call] of Object.entries(cases)) {
  await fake.reset()
  let outcome
  try {
    outcome = await call()
  } catch (e) {
    outcome = { unexpected: e.stack }
  }
  outcomes[name] = { outcome, sent: await fake.chatBodies() }
}
process.stdout.write(JSON.stringify(outcomes))
