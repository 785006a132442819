import OpenAI, { APIConnectionTimeoutError, APIError, APIUserAbortError } from 'openai';
import type { Clock } from '../../base/clock.ts';
import type { Prompt } from '../../propose/prompt.ts';
import type { Llm, LlmAnswer } from './llm.ts';

export interface OpenAiOptions {
  /** Any OpenAI-compatible endpoint: `http://localhost:11434/v1`. */
  readonly baseUrl: string;
  readonly model: string;
  /** Local endpoints want none. Never logged. */
  readonly apiKey?: string;
  /** For one answer, milliseconds. A case can wait this long for a second opinion, not longer. */
  readonly timeoutMs?: number;
  /** Upper bound for the tokens of an answer, whatever the prompt asks for. */
  readonly maxTokens?: number;
  readonly clock: Clock;
}

/** How an endpoint can be held to the schema, from the strongest way to none; the answer is read with suspicion in any case. */
const formats = ['json_schema', 'json_object', 'text'] as const;
type Format = (typeof formats)[number];

/** After this many failures in a row the endpoint is left alone for a while, so that a dead one does not slow every case. */
const failuresUntilPause = 3;
const pauseMs = 60_000;
/** An answer fits in a few hundred characters; a body beyond this is cut by not being read further than parsing allows. */
const maxKeptCharacters = 20_000;

/** An endpoint that can be tried before it is needed. */
export interface ProbedLlm extends Llm {
  /**
   * One small question with a known answer: finds out what the endpoint can be held to, so that the first case does not have to. `says` is
   * a sentence for the log and the doctor. Never throws but for an aborted signal.
   */
  probe(signal: AbortSignal): Promise<{ readonly is: 'ready' | 'absent'; readonly says: string }>;
}

const probePrompt: Prompt = {
  template: 'probe/v1',
  messages: [{ role: 'user', content: 'Answer with the JSON object {"choice": "ready"} and nothing else.' }],
  schema: {
    type: 'object',
    properties: { choice: { type: 'string', enum: ['ready'] } },
    required: ['choice'],
    additionalProperties: false,
  },
  hash: '',
  answerTokens: 200,
  choices: new Map(),
  evidence: [],
};

export function openOpenAi(options: OpenAiOptions): ProbedLlm {
  const timeoutMs = options.timeoutMs ?? 20_000;
  const client = new OpenAI({
    baseURL: options.baseUrl,
    // The SDK insists on a key; endpoints without one ignore it.
    apiKey: options.apiKey ?? 'none',
    timeout: timeoutMs,
    // Retried by asking again with the next case, not by keeping this one waiting.
    maxRetries: 0,
  });
  let format: Format = 'json_schema';
  let failures = 0;
  let pausedUntilMs = Number.NEGATIVE_INFINITY;

  const call = async (prompt: Prompt, signal: AbortSignal): Promise<LlmAnswer> => {
    const completion = await client.chat.completions.create(
      {
        model: options.model,
        messages: prompt.messages.map(({ role, content }) => ({ role, content })),
        max_tokens: Math.min(prompt.answerTokens, options.maxTokens ?? prompt.answerTokens),
        temperature: 0,
        seed: 1,
        ...responseFormat(format, prompt),
      },
      // The SDK's own timeout ends with the headers; this one covers a body that trickles.
      { signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]) },
    );
    const tokens = completion.usage?.total_tokens ?? 0;
    const text = completion.choices?.[0]?.message?.content ?? '';
    if (typeof text !== 'string' || text === '') return { is: 'absent', because: 'the endpoint answered without text', tokens };
    return { is: 'answer', text: text.slice(0, maxKeptCharacters), model: String(completion.model ?? options.model), tokens };
  };

  const describe = (): string => `${options.model} at ${withoutCredentials(options.baseUrl)} (${format})`;
  const ask = async (prompt: Prompt, signal: AbortSignal): Promise<LlmAnswer> => {
    signal.throwIfAborted();
    if (options.clock.monotonicMs() < pausedUntilMs)
      return { is: 'absent', because: 'the endpoint failed several times in a row and is left alone', tokens: 0 };
    for (;;) {
      try {
        const answer = await call(prompt, signal);
        failures = 0;
        return answer;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        const weaker = isFormatRefusal(error) ? formats[formats.indexOf(format) + 1] : undefined;
        if (weaker !== undefined) {
          // Remembered: the endpoint does not know this response format.
          format = weaker;
          continue;
        }
        failures += 1;
        if (failures >= failuresUntilPause) {
          pausedUntilMs = options.clock.monotonicMs() + pauseMs;
          failures = 0;
        }
        return { is: 'absent', because: reasonOf(error, timeoutMs), tokens: 0 };
      }
    }
  };
  return {
    ask,
    probe: async (signal) => {
      const answer = await ask(probePrompt, signal);
      if (answer.is === 'answer') return { is: 'ready', says: describe() };
      return { is: 'absent', says: `${describe()}: ${answer.because}; until it answers, heuristics choose alone` };
    },
    describe,
  };
}

/** The endpoint of a config's `llm`; the key comes from the environment. */
export function openLlm(
  config: Pick<OpenAiOptions, 'baseUrl' | 'model' | 'timeoutMs' | 'maxTokens'> & { readonly apiKeyEnv: string },
  env: Readonly<Record<string, string | undefined>>,
  clock: Clock,
): ProbedLlm {
  const { apiKeyEnv, ...options } = config;
  const apiKey = env[apiKeyEnv];
  return openOpenAi({ ...options, clock, ...(apiKey === undefined ? {} : { apiKey }) });
}

function responseFormat(format: Format, prompt: Prompt): Partial<OpenAI.Chat.ChatCompletionCreateParamsNonStreaming> {
  if (format === 'text') return {};
  if (format === 'json_object') return { response_format: { type: 'json_object' } };
  const schema = prompt.schema as Record<string, unknown>;
  return { response_format: { type: 'json_schema', json_schema: { name: 'choice', strict: true, schema } } };
}

/** 400 and 422 are what endpoints answer to a field that they do not know; the message often names it, not always. */
function isFormatRefusal(error: unknown): boolean {
  return error instanceof APIError && (error.status === 400 || error.status === 422);
}

function reasonOf(error: unknown, timeoutMs: number): string {
  if (error instanceof APIConnectionTimeoutError || error instanceof APIUserAbortError)
    return `the endpoint did not answer within ${timeoutMs} ms`;
  if (error instanceof APIError && typeof error.status === 'number') return `the endpoint answered ${error.status}`;
  if (error instanceof Error && error.name === 'TimeoutError') return `the endpoint did not answer within ${timeoutMs} ms`;
  return 'the endpoint could not be reached or did not answer as one';
}

function withoutCredentials(url: string): string {
  return URL.canParse(url) ? new URL(url).origin + new URL(url).pathname : 'an unreadable URL';
}
