(() => {
  'use strict';

  const $ = (id) => document.getElementById(id);
  const SHOWN_MAX = 50000; /* characters of a body */
  let api;

  /* make('p.hint', {title: 'x', onclick: f}, 'text', node…) */
  function make(tag, props, ...children) {
    const [name, ...classes] = tag.split('.');
    const node = document.createElement(name);
    if (classes.length) node.className = classes.join(' ');
    for (const [key, value] of Object.entries(props || {}))
      if (key in node && typeof value !== 'string') node[key] = value;
      else node.setAttribute(key, value);
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }

  /* Follows $ref; what stands beside it wins. */
  function resolve(thing) {
    if (!thing || !thing.$ref) return thing || {};
    const path = thing.$ref.slice(2).split('/').map((part) => part.replace(/~1/g, '/').replace(/~0/g, '~'));
    const target = resolve(path.reduce((at, key) => at[key], api));
    const merged = { ...target, ...thing };
    if (target.properties && thing.properties) {
      merged.properties = { ...target.properties };
      for (const [key, value] of Object.entries(thing.properties))
        merged.properties[key] = { ...resolve(merged.properties[key]), ...value };
    }
    delete merged.$ref;
    return merged;
  }

  /* Prose: paragraphs, and `code`. */
  function prose(text) {
    return (text || '').split('\n\n').map((paragraph) => make('p', {},
      paragraph.split('`').map((part, i) => (i % 2 ? make('code', {}, part) : part))));
  }

  const inline = (text) => (text || '').split('`').map((part, i) => (i % 2 ? make('code', {}, part) : part));
  const pretty = (value) => JSON.stringify(value, null, 2);

  function typeOf(schema) {
    const s = resolve(schema);
    if ('const' in s) return JSON.stringify(s.const);
    if (s.enum) return s.enum.map((value) => JSON.stringify(value)).join(' | ');
    if (s.anyOf) return s.anyOf.map(typeOf).join(' | ');
    if (s.type === 'array') return 'array of ' + typeOf(s.items);
    return s.type || 'any';
  }

  function limits(s) {
    const out = [];
    if ('minLength' in s && 'maxLength' in s) out.push(`${s.minLength} to ${s.maxLength} characters`);
    else if ('minLength' in s) out.push(`at least ${s.minLength} character${s.minLength === 1 ? '' : 's'}`);
    else if ('maxLength' in s) out.push(`at most ${s.maxLength} characters`);
    if ('minimum' in s) out.push(`at least ${s.minimum}`);
    if ('default' in s) out.push(`default ${JSON.stringify(s.default)}`);
    return out.length ? ', ' + out.join(', ') : '';
  }

  function sample(schema) {
    const s = resolve(schema);
    if (s.examples) return s.examples[0];
    if ('const' in s) return s.const;
    if ('default' in s) return s.default;
    if (s.enum) return s.enum[0];
    if (s.anyOf) return sample(s.anyOf[0]);
    if (s.type === 'array') return [sample(s.items)];
    if (s.type === 'object') {
      const object = {};
      for (const [key, value] of Object.entries(s.properties || {}))
        if ((s.required || []).includes(key)) object[key] = sample(value);
      return object;
    }
    return { string: 'text', integer: 0, number: 0, boolean: true }[s.type] ?? null;
  }

  function named(name, schema, required, description) {
    const s = resolve(schema);
    return [
      make('dt', {}, make('code', {}, name), ' ', make('span.type', {}, typeOf(s) + limits(s)),
        required ? make('span.required', {}, ' required') : null),
      make('dd', {}, inline(description || s.description),
        s.pattern ? [' ', make('code', {}, s.pattern)] : null, nested(s)),
    ];
  }

  function nested(s) {
    const inner = s.type === 'array' ? resolve(s.items) : s;
    return inner.properties ? schemaOf(inner) : null;
  }

  function schemaOf(schema) {
    const s = resolve(schema);
    if (!s.properties) return make('p.type', {}, typeOf(s));
    return make('dl.schema', {}, Object.entries(s.properties)
      .map(([key, value]) => named(key, value, (s.required || []).includes(key))));
  }

  function mediaOf(content) {
    return Object.entries(content || {}).map(([type, media]) => {
      const example = 'example' in media ? media.example
        : type === 'application/json' && resolve(media.schema).type === 'object' ? sample(media.schema) : null;
      return [
        make('h4', {}, 'Body ', make('code', {}, type)),
        schemaOf(media.schema),
        example === null ? null : make('pre', { tabindex: '0' }, typeof example === 'string' ? example : pretty(example)),
      ];
    });
  }

  const tone = (status) => (status < 400 ? 'good' : 'bad');

  function statusOf([status, ref]) {
    const r = resolve(ref);
    const headers = Object.entries(r.headers || {});
    return make('details.status', {},
      make('summary', {}, make('span.code.' + tone(+status), {}, status), ' ', inline(r.description)),
      make('div', {},
        headers.length ? [make('h4', {}, 'Headers'), make('dl.schema', {}, headers.map(([name, h]) => {
          const header = resolve(h);
          return named(name, header.schema, header.required, header.description);
        }))] : null,
        mediaOf(r.content)));
  }

  /* ---- the form ---- */

  const quote = (text) => "'" + text.replace(/'/g, "'\\''") + "'";

  /* What stands in a field of no string type is JSON where it can be: 20, null, true. */
  function valueOf(text, schema) {
    if (resolve(schema).type === 'string') return text;
    try { return JSON.parse(text); } catch { return text; }
  }

  function fieldOf(id, name, schema, options) {
    const s = resolve(schema);
    const choices = options.choices || (s.anyOf || []).flatMap((each) => each.enum || []);
    const common = { id, name, ...(options.required ? { 'aria-required': 'true' } : {}) };
    const control = choices.length
      ? make('select', common, choices.map((choice, i) => make('option', { value: choice }, choice || '(none)')))
      : s.maxLength > 200 ? make('textarea', common) : make('input', { ...common, type: 'text', spellcheck: 'false', autocomplete: 'off' });
    const hint = (choices.length ? '' : typeOf(s)) + limits(s);
    if (options.required && s.examples) control.value = typeof s.examples[0] === 'string' ? s.examples[0] : JSON.stringify(s.examples[0]);
    if (hint) control.setAttribute('aria-describedby', id + '-hint');
    return { name, schema: s, control, required: options.required,
      node: make('div.field', {}, make('label', { for: id }, name, options.required ? '' : ' (optional)'), control,
        hint ? make('p.hint', { id: id + '-hint' }, hint.replace(/^, /, '')) : null) };
  }

  /* The request that the form describes right now. */
  function requestOf(form) {
    const headers = {};
    for (const field of form.headers) if (field.control.value) headers[field.name] = field.control.value;
    const path = form.path.replace(/\{(\w+)\}/g, (mark, name) =>
      encodeURIComponent(form.inPath.find((field) => field.name === name).control.value));
    const request = { method: form.method.toUpperCase(), headers, url: new URL('.' + path, document.baseURI).href };
    if (form.fields.length) {
      const body = {};
      for (const field of form.fields) {
        const text = field.control.value;
        if (text !== '' || (field.required && field.schema.type === 'string')) body[field.name] = valueOf(text, field.schema);
      }
      headers['Content-Type'] = 'application/json';
      request.body = JSON.stringify(body);
    }
    return request;
  }

  function curlOf(request, guarded) {
    const parts = ['curl -i'];
    if (request.method !== 'GET') parts[0] += ' -X ' + request.method;
    parts[0] += ' ' + quote(request.url);
    for (const [name, value] of Object.entries(request.headers)) parts.push('-H ' + quote(name + ': ' + value));
    /* The token itself stays out of what is copied. */
    if (guarded && $('token').value) parts.push('-H "Authorization: Bearer $TOKEN"');
    if (request.body) parts.push('-d ' + quote(request.body));
    return parts.join(' \\\n  ');
  }

  async function copy(text, button) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { /* not a secure context */
      const area = make('textarea', {}, text);
      button.after(area);
      area.select();
      document.execCommand('copy');
      area.remove();
      button.focus();
    }
    const before = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  function show(result, response, text, took) {
    const headers = [...response.headers].map(([name, value]) => make('tr', {},
      make('th', { scope: 'row' }, name), make('td', {}, value)));
    let body = text, trace = ((response.headers.get('traceparent') || '').split('-')[1]);
    try {
      const json = JSON.parse(text);
      body = pretty(json);
      trace = (json && json.trace_id) || trace;
    } catch { /* shown as it is */ }
    if (body.length > SHOWN_MAX) body = body.slice(0, SHOWN_MAX) + '\n… cut here';
    const facts = [['Request id', response.headers.get('x-request-id')], ['Trace id', trace],
      ['Server-Timing', response.headers.get('server-timing')], ['Took', `${took} ms, seen from here`],
      ['Redirected to', response.redirected ? response.url : null]].filter(([, value]) => value);
    result.replaceChildren(
      make('h4', {}, 'Answer ', make('span.code.' + tone(response.status), {}, `${response.status} ${response.statusText}`)),
      make('table', {}, make('tbody', {}, facts.map(([name, value]) =>
        make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, value))))),
      make('pre', { tabindex: '0', 'aria-label': 'Body of the answer' }, body || '(no body)'),
      make('details', {}, make('summary', {}, `All ${headers.length} headers`), make('table', {}, make('tbody', {}, headers))));
  }

  async function send(form) {
    const request = requestOf(form), token = $('token').value, began = performance.now();
    const controller = new AbortController();
    if (form.guarded && token) request.headers.Authorization = 'Bearer ' + token;
    form.stop.onclick = () => controller.abort();
    form.send.disabled = true;
    form.stop.hidden = false;
    form.result.replaceChildren(make('p.hint', {}, 'Waiting for the answer…'));
    try {
      const response = await fetch(request.url, { ...request, signal: controller.signal, credentials: 'omit', cache: 'no-store' });
      show(form.result, response, await response.text(), Math.round(performance.now() - began));
    } catch (error) {
      form.result.replaceChildren(make('p.notice.bad', {}, controller.signal.aborted
        ? 'Stopped: the gateway cancels what it was doing.' : `No answer came: ${error.message}`));
    } finally {
      form.send.disabled = false;
      form.stop.hidden = true;
    }
  }

  function formOf(path, method, operation) {
    const id = (name) => `${operation.operationId}-${name}`.replace(/[^\w-]/g, '_');
    const schema = resolve(operation.requestBody && operation.requestBody.content['application/json'].schema);
    const form = { path, method, guarded: (operation.security || []).length > 0 || path === '/ask' };
    form.fields = Object.entries(schema.properties || {}).map(([name, each]) =>
      fieldOf(id(name), name, each, { required: (schema.required || []).includes(name),
        choices: (resolve(each).anyOf || []).some((one) => one.enum) ? ['', ...resolve(each).anyOf.flatMap((one) => one.enum || [])] : null }));
    form.headers = parametersOf(operation, 'header').map((p) => fieldOf(id(p.name), p.name, p.schema, {}));
    form.inPath = parametersOf(operation, 'path').map((p) =>
      fieldOf(id(p.name), p.name, { ...p.schema, examples: [p.example] }, { required: true }));
    const types = Object.keys((resolve(operation.responses['200']).content) || {});
    if (method === 'get' && types.length > 1) form.headers.push(fieldOf(id('Accept'), 'Accept', {}, { choices: ['', ...types] }));
    form.result = make('div', { 'aria-live': 'polite' });
    form.send = make('button', { type: 'submit' }, 'Send');
    form.stop = make('button.quiet', { type: 'button', hidden: true }, 'Stop');
    const curl = make('pre', { tabindex: '0', 'aria-label': 'The same as a curl command' });
    const copier = make('button.quiet', { type: 'button', onclick: () => copy(curl.textContent, copier) }, 'Copy curl');
    const refresh = () => { curl.textContent = curlOf(requestOf(form), form.guarded); };
    const node = make('form', { novalidate: true, oninput: refresh, onsubmit: (event) => { event.preventDefault(); send(form); } },
      make('h4', {}, 'Try it'),
      form.inPath.map((field) => field.node),
      form.fields.map((field) => field.node),
      form.headers.length ? make('details', {}, make('summary', {}, 'Headers'), form.headers.map((field) => field.node)) : null,
      make('div.buttons', {}, form.send, form.stop, copier),
      curl, form.result);
    $('token').addEventListener('input', refresh);
    refresh();
    return node;
  }

  /* ---- the page ---- */

  const parametersOf = (operation, place) => (operation.parameters || []).map(resolve).filter((p) => p.in === place);

  function listOf(title, parameters) {
    return parameters.length ? [make('h4', {}, title), make('dl.schema', {},
      parameters.map((p) => named(p.name, p.schema, p.required, p.description)))] : null;
  }

  function routeOf(path, method, operation) {
    const guarded = (operation.security || []).length > 0;
    const body = operation.requestBody;
    return make('article', { id: operation.operationId }, make('details.route', { open: path === '/ask' },
      make('summary', {}, make('h3', {}, make('span.method.' + method, {}, method), make('span.path', {}, path),
        make('span.what', {}, operation.summary)), guarded ? make('span.lock', {}, 'needs a token') : null),
      make('div', {},
        prose(operation.description),
        listOf('In the path', parametersOf(operation, 'path')),
        listOf('Request headers', parametersOf(operation, 'header')),
        body ? [make('h4', {}, 'Request body ', make('code', {}, 'application/json')),
          schemaOf(body.content['application/json'].schema)] : null,
        formOf(path, method, operation),
        make('h4', {}, 'Answers'),
        Object.entries(operation.responses).map(statusOf))));
  }

  function openTarget() {
    const article = location.hash && $(decodeURIComponent(location.hash.slice(1)));
    if (article && article.tagName === 'ARTICLE') {
      article.firstChild.open = true;
      article.scrollIntoView();
    }
  }

  function page() {
    const routes = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item)
      .map(([method, operation]) => ({ path, method, operation })));
    const needed = routes.some(({ operation }) => (operation.security || []).length > 0);
    document.title = `${api.info.title} API`;
    $('version').textContent = api.info.version;
    $('summary').textContent = api.info.summary || '';
    $('description').append(...prose(api.info.description));
    $('token-hint').textContent = (needed ? 'Needed where a route says so. ' : 'This gateway asks for none. ') +
      'It stays in this page and is gone when the page is.';
    for (const tag of api.tags) {
      $('contents').append(make('li.group', {}, tag.name[0].toUpperCase() + tag.name.slice(1)));
      $('routes').append(make('h2', {}, tag.name), make('p', {}, tag.description));
      for (const { path, method, operation } of routes.filter((route) => route.operation.tags.includes(tag.name))) {
        $('contents').append(make('li', {}, make('a', { href: '#' + operation.operationId },
          make('span.method.' + method, {}, method), make('span.path', {}, path))));
        $('routes').append(routeOf(path, method, operation));
      }
    }
    $('loading').remove();
    $('about').hidden = false;
    addEventListener('hashchange', openTarget);
    openTarget();
  }

  fetch('./openapi.json').then((response) => {
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    return response.json();
  }).then((document_) => { api = document_; page(); }).catch((error) => {
    $('loading').className = 'notice bad';
    $('loading').textContent = `The description could not be shown: ${error.message}`;
  });
})();
