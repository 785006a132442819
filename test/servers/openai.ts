import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How the endpoint behaves. `honest` answers with what `choose` says, in the shape that was asked for. */
export type Behaviour =
  | 'honest'
  /** Names candidates, evidence and causes that nobody gave it. */
  | 'lying'
  /** Adds values and fields of its own to a valid choice. */
  | 'inventing'
  | 'malformed'
  | 'empty'
  | 'slow'
  /** Sends headers and half a body, then nothing. */
  | 'trickling'
  | 'failing'
  /** Refuses `response_format: json_schema`, as older endpoints do. */
  | 'without-schema'
  | 'hanging-up';

export interface OpenAiServer {
  readonly url: string;
  readonly requests: readonly ChatRequest[];
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
}

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly response_format?: { readonly type: string; readonly json_schema?: { readonly schema: unknown } };
  readonly authorization: string;
}

/**
 * An OpenAI-compatible endpoint on a free port of 127.0.0.1. `choose` is the model: it gets the prompt's choices (from the JSON
 * schema that was sent, else from the text) and answers with an index or `abstain`.
 */
export async function startOpenAi(
  choose: (request: ChatRequest, choices: readonly string[]) => string = (_, choices) => choices[0] ?? 'abstain',
): Promise<OpenAiServer> {
  let behaviour: Behaviour = 'honest';
  const requests: ChatRequest[] = [];
  const open = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    open.add(response);
    response.on('close', () => open.delete(response));
    void read(request).then((body) => {
      const chat: ChatRequest = {
        ...(JSON.parse(body) as Omit<ChatRequest, 'authorization'>),
        authorization: request.headers.authorization ?? '',
      };
      requests.push(chat);
      answer(chat, response, behaviour, choose);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/v1`,
    requests,
    behave: (next) => {
      behaviour = next;
    },
    close: async () => {
      for (const response of open) response.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

function answer(
  chat: ChatRequest,
  response: ServerResponse,
  behaviour: Behaviour,
  choose: (request: ChatRequest, choices: readonly string[]) => string,
): void {
  const choices = choicesOf(chat);
  const honest = JSON.stringify({
    choice: choose(
      chat,
      choices.filter((choice) => choice !== 'abstain'),
    ),
    rootCause: 'lost-change-event',
    cited: [],
  });
  const send = (status: number, content: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify(content));
  };
  const complete = (text: string | null): void =>
    send(200, {
      id: 'chatcmpl-1',
      object: 'chat.completion',
      created: 0,
      model: `${chat.model}-served`,
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content: text } }],
      usage: { prompt_tokens: 400, completion_tokens: 30, total_tokens: 430 },
    });
  switch (behaviour) {
    case 'honest':
      return complete(honest);
    case 'without-schema':
      if (chat.response_format?.type === 'json_schema') return send(400, { error: { message: 'response_format is not supported' } });
      return complete(`\`\`\`json\n${honest}\n\`\`\``);
    case 'lying':
      return complete(JSON.stringify({ choice: 'candidate-99', rootCause: 'gremlins', cited: ['span-of-nobody'] }));
    case 'inventing':
      return complete(
        JSON.stringify({ ...(JSON.parse(honest) as object), effects: [{ replica: 'eu', after: { id: '1', balance: '0' } }] }),
      );
    case 'malformed':
      return complete('I would say: the first one! {"choice":');
    case 'empty':
      return complete(null);
    case 'failing':
      return send(500, { error: { message: 'no' } });
    case 'slow':
      return;
    case 'trickling':
      response.writeHead(200, { 'content-type': 'application/json' });
      response.write('{"id":"chatcmpl-1","choices":[');
      return;
    case 'hanging-up':
      response.destroy();
      return;
    default:
      return behaviour satisfies never;
  }
}

/** The choices that the question allows: from the schema, or, for endpoints that get none, from the text. */
function choicesOf(chat: ChatRequest): readonly string[] {
  const schema = chat.response_format?.json_schema?.schema as { properties?: { choice?: { enum?: readonly string[] } } } | undefined;
  const listed = schema?.properties?.choice?.enum;
  if (listed !== undefined) return listed;
  const text = chat.messages.map(({ content }) => content).join('\n');
  return [...new Set(text.match(/candidate-\d+/g) ?? [])].toSorted();
}

async function read(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}
