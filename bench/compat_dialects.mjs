// The clients of npm, asked by bench/compat_dialects.py: node compat_dialects.mjs URL KEY MODEL
import { DefaultChatTransport, readUIMessageStream } from 'ai';
import { HttpAgent } from '@ag-ui/client';
const [url, key, model] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const script = (fields) => ` [[script ${JSON.stringify(fields)}]]`;
let failed = 0;
async function question(name, ask) {
  try {
    const problem = await Promise.race([ask(), new Promise((_, no) => setTimeout(() => no(new Error('timeout')), 20000))]);
    if (problem) { failed++; console.log(`FAILED ${name}: ${problem}`); } else console.log(`ok     ${name}`);
  } catch (error) { failed++; console.log(`FAILED ${name}: ${error.message}`); }
}
const text = (id, said) => ({ id, role: 'user', parts: [{ type: 'text', text: said }] });
async function last(stream) { let message; for await (const one of readUIMessageStream({ stream })) message = one; return message; }
const said = (message) => message.parts.filter((part) => part.type === 'text').map((part) => part.text).join('');
const transport = new DefaultChatTransport({ api: `${url}/v1/ui-messages/${model}`, headers });
const send = (chatId, messages, body = {}) =>
  transport.sendMessages({ trigger: 'submit-message', chatId, messages, body, abortSignal: undefined });
const tool = { name: 'weather', description: 'd', parameters: { type: 'object', properties: {} } };
const asks = { pieces: ['So. '], tool: { name: 'weather', arguments: '{"city": "Rome"}' } };

await question('ai: an answer', async () => {
  const message = await last(await send('c1', [text('m1', 'Hi' + script({ pieces: ['Hel', 'lo.'], reasoning: ['Hm.'] }))]));
  if (said(message) !== 'Hello.') return said(message);
  if (!message.parts.some((part) => part.type === 'reasoning' && part.text === 'Hm.')) return 'no reasoning';
});
await question("ai: the client's own tool, and its result", async () => {
  const question = text('m1', 'Weather?' + script({ turns: [asks, { pieces: ['Sun.'] }] }));
  const first = await last(await send('c2', [question], { tools: [tool] }));
  const part = first.parts.find((one) => one.type === 'tool-weather');
  if (!part || part.state !== 'input-available' || part.input.city !== 'Rome') return JSON.stringify(first.parts);
  Object.assign(part, { state: 'output-available', output: { sky: 'blue' } });
  const second = await last(await send('c2', [question, first], { tools: [tool] }));
  if (said(second) !== 'Sun.') return said(second);
});
await question('ai: resume a stream', async () => {
  const slow = text('m1', 'Count' + script({ pieces: ['One ', 'two ', 'three.'], delay: 0.5 }));
  const reader = (await send('c3', [slow])).getReader();
  while ((await reader.read()).value?.type !== 'text-delta');
  await reader.cancel();
  const stream = await transport.reconnectToStream({ chatId: 'c3' });
  if (!stream) return 'nothing to resume';
  const message = await last(stream);
  if (said(message) !== 'One two three.') return said(message);
  if (await transport.reconnectToStream({ chatId: 'c3' })) return 'something to resume after the end';
});
await question('ai: regenerate', async () => {
  const question = text('m1', 'Hi' + script({ id: 'again', pieces: ['One.'], again: { pieces: ['Two.'] } }));
  await last(await send('c4', [question]));
  const message = await last(await transport.sendMessages({ trigger: 'regenerate-message', chatId: 'c4', messages: [question] }));
  if (said(message) !== 'Two.') return said(message);
});
await question('ai: an error', async () => {
  const stream = await send('c5', [text('m1', 'Hi' + script({ pieces: ['Half'], error: 1 }))]);
  let problem = 'no error chunk';
  for await (const chunk of stream) if (chunk.type === 'error') problem = undefined;
  return problem;
});

const agent = (threadId, initialMessages) =>
  new HttpAgent({ url: `${url}/v1/agui/${model}`, headers, threadId, initialMessages });
await question('ag-ui: an answer', async () => {
  const held = agent('t1', [{ id: 'm1', role: 'user', content: 'Hi' + script({ pieces: ['Hel', 'lo.'], reasoning: ['Hm.'] }) }]);
  await held.runAgent();
  const answer = held.messages.find((one) => one.role === 'assistant');
  if (answer?.content !== 'Hello.') return JSON.stringify(held.messages);
  held.addMessage({ id: 'm3', role: 'user', content: 'And?' + script({ pieces: ['More.'] }) });
  await held.runAgent();
  if (held.messages.at(-1).content !== 'More.') return JSON.stringify(held.messages);
});
await question("ag-ui: the front-end's own tool, and its result", async () => {
  const held = agent('t2', [{ id: 'm1', role: 'user', content: 'Weather?' + script({ turns: [asks, { pieces: ['Sun.'] }] }) }]);
  await held.runAgent({ tools: [tool] });
  const call = held.messages.flatMap((one) => one.toolCalls ?? [])[0];
  if (call?.function.arguments !== '{"city": "Rome"}') return JSON.stringify(held.messages);
  held.addMessage({ id: 'm3', role: 'tool', toolCallId: call.id, content: 'sun' });
  await held.runAgent({ tools: [tool] });
  if (held.messages.at(-1).content !== 'Sun.') return JSON.stringify(held.messages);
});
await question('ag-ui: an error', async () => {
  const held = agent('t3', [{ id: 'm1', role: 'user', content: 'Hi' + script({ pieces: ['Half'], error: 1 }) }]);
  let problem = 'no error';
  await held.runAgent({}, { onRunErrorEvent() { problem = undefined; } }).catch(() => { problem = undefined; });
  return problem;
});
process.exit(failed);
