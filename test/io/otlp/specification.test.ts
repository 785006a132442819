import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { openMemoryJournal } from '../../../src/io/journal/memory.ts';
import { openOtlpGrpc } from '../../../src/io/otlp/grpc.ts';
import { openOtlpHttp } from '../../../src/io/otlp/http.ts';
import type { Payload, Receipt, Receiver, ReceiverOptions, Signal } from '../../../src/io/otlp/payload.ts';
import { startIngest } from '../../../src/runtime/ingest-loop.ts';
import {
  logsRequestType,
  metricsRequestType,
  responseTypes,
  retryInfoType,
  statusType,
  traceRequestType,
} from '../../ingest/otlp-proto.ts';
import { call, send } from './exporting.ts';

/**
 * What the OTLP specification (1.11) asks of a server, clause by clause: every clause over OTLP/HTTP with protobuf, OTLP/HTTP with JSON and
 * OTLP/gRPC, plain and gzipped, for traces, logs and metrics. `said` is what the answer comes to whatever it travelled in.
 */
interface Said {
  /** 200, or what the refusal says. */
  readonly is: 'ok' | 'bad' | 'too-large' | 'later' | 'not-supported' | 'unauthenticated' | 'unknown-method' | 'failed';
  readonly rejected: number;
  readonly message: string;
  /** Whether the exporter is told to send the same again. */
  readonly mayRetry: boolean;
  readonly retryAfterS: number | undefined;
  /** What the server says it would take instead. */
  readonly accepts: string;
}

interface Transport {
  readonly name: string;
  /** Sends bytes under a content coding, as they are. */
  readonly exchange: (
    port: number,
    signal: Signal,
    bytes: Buffer,
    coding: string,
    more?: { token?: string; path?: string },
  ) => Promise<Said>;
  readonly open: (options: Omit<ReceiverOptions, 'host' | 'port'>) => Promise<Receiver>;
  readonly encode: (signal: Signal, request: object) => Buffer;
  readonly malformed: Buffer;
  /** The same request with a field that no version of the protocol has. */
  readonly withUnknownField: (signal: Signal) => Buffer;
  readonly warnsOfUnknownFields: boolean;
}

const requestTypes = { traces: traceRequestType, logs: logsRequestType, metrics: metricsRequestType };
const services = { traces: 'trace.v1.TraceService', logs: 'logs.v1.LogsService', metrics: 'metrics.v1.MetricsService' };
const rejectedFields = { traces: 'rejectedSpans', logs: 'rejectedLogRecords', metrics: 'rejectedDataPoints' };
const host = '127.0.0.1';

const at = '1700000000000000000';
const ids = (traceId: Buffer, spanId: Buffer): object => ({ traceId, spanId });
const items = {
  traces: (wrong = false): object => ({
    resourceSpans: [
      {
        scopeSpans: [
          {
            spans: [
              { ...ids(Buffer.alloc(16, 7), Buffer.alloc(8, 1)), name: 'work', startTimeUnixNano: at, endTimeUnixNano: at },
              ...(wrong ? [{ ...ids(Buffer.alloc(16), Buffer.alloc(8, 2)), name: 'no id' }] : []),
            ],
          },
        ],
      },
    ],
  }),
  logs: (): object => ({
    resourceLogs: [
      {
        scopeLogs: [
          { logRecords: [{ ...ids(Buffer.alloc(16, 7), Buffer.alloc(8, 1)), timeUnixNano: at, body: { stringValue: 'hello' } }] },
        ],
      },
    ],
  }),
  metrics: (): object => ({
    resourceMetrics: [
      {
        scopeMetrics: [
          { metrics: [{ name: 'postgresql.wal.lag', unit: 's', gauge: { dataPoints: [{ timeUnixNano: at, asDouble: 1.5 }] } }] },
        ],
      },
    ],
  }),
};
const withoutItems = {
  traces: { resourceSpans: [{ scopeSpans: [{ spans: [] }] }] },
  logs: { resourceLogs: [{ scopeLogs: [] }] },
  metrics: { resourceMetrics: [{}] },
};

const hexadecimal = (request: object): string =>
  JSON.stringify(request, (_, value: unknown) => (isBytes(value) ? Buffer.from(value.data).toString('hex') : value));
const isBytes = (value: unknown): value is { data: number[] } =>
  typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value;

const meanings: Readonly<Record<number, Said['is']>> = {
  200: 'ok',
  400: 'bad',
  401: 'unauthenticated',
  404: 'unknown-method',
  413: 'too-large',
  415: 'not-supported',
  429: 'later',
  503: 'later',
};

function overHttp(name: string, type: string): Transport {
  const isJson = type === 'application/json';
  const encode = (signal: Signal, request: object): Buffer =>
    isJson
      ? Buffer.from(hexadecimal(request))
      : Buffer.from(requestTypes[signal].encode(requestTypes[signal].fromObject(request)).finish());
  return {
    name,
    encode,
    open: (options) => openOtlpHttp({ ...options, host, port: 0 }),
    malformed: isJson ? Buffer.from('{"resourceSpans": [') : Buffer.from('hello, world'),
    warnsOfUnknownFields: isJson,
    withUnknownField: (signal) => {
      const bytes = encode(signal, items[signal]());
      return isJson ? Buffer.from(bytes.toString().replace(/\}\]\}\]\}$/, '}],"novelty":1}]}')) : Buffer.concat([bytes, futureField]);
    },
    exchange: async (port, signal, bytes, coding, more) => {
      const headers: Record<string, string> = { 'content-type': `${type}; charset=utf-8` };
      if (coding !== '') headers['content-encoding'] = coding;
      if (more?.token !== undefined) headers['authorization'] = `Bearer ${more.token}`;
      const answer = await send(port, more?.path ?? `/v1/${signal}`, headers, bytes);
      if (answer.status === 401) expect(answer.headers['www-authenticate']).toBe('Bearer');
      // "The response MUST use the same Content-Type": in success and in failure.
      expect(answer.headers['content-type']).toBe(type);
      const is = meanings[answer.status] ?? 'failed';
      const body = (messageType: typeof statusType): Record<string, unknown> =>
        isJson
          ? (JSON.parse(answer.body.toString()) as Record<string, unknown>)
          : messageType.toObject(messageType.decode(answer.body), { longs: Number });
      const retryAfter = answer.headers['retry-after'];
      const shared = {
        is,
        mayRetry: [429, 502, 503, 504].includes(answer.status),
        retryAfterS: retryAfter === undefined ? undefined : Number(retryAfter),
        accepts: String(answer.headers['accept-encoding'] ?? ''),
      };
      if (is === 'ok') return { ...shared, ...partialOf(body(responseTypes[signal]), signal) };
      const said = body(statusType);
      expect(said['code'], 'Status.code').toBeGreaterThan(0);
      return { ...shared, rejected: 0, message: textOf(said['message']) };
    },
  };
}

/** Field 1000, varint: what a later version may add. */
const futureField = Buffer.from([0xc0, 0x3e, 0x05]);

const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

function partialOf(response: Record<string, unknown>, signal: Signal): { rejected: number; message: string } {
  const partial = response['partialSuccess'] as Record<string, unknown> | undefined;
  // Each signal has a field of its own for what was rejected.
  for (const field of Object.keys(partial ?? {})) expect([rejectedFields[signal], 'errorMessage']).toContain(field);
  return { rejected: Number(partial?.[rejectedFields[signal]] ?? 0), message: textOf(partial?.['errorMessage']) };
}

const codes: Readonly<Record<number, Said['is']>> = {
  [status.INVALID_ARGUMENT]: 'bad',
  [status.RESOURCE_EXHAUSTED]: 'too-large',
  [status.UNAVAILABLE]: 'later',
  [status.UNIMPLEMENTED]: 'not-supported',
  [status.UNAUTHENTICATED]: 'unauthenticated',
};

/** gRPC compresses inside the message: grpc-js does it for gzip and deflate, and calls any other coding what we tell it to. */
const grpc: Transport = {
  name: 'OTLP/gRPC',
  encode: (signal, request) => Buffer.from(requestTypes[signal].encode(requestTypes[signal].fromObject(request)).finish()),
  open: (options) => openOtlpGrpc({ ...options, host, port: 0 }),
  malformed: Buffer.from('hello, world'),
  warnsOfUnknownFields: false,
  withUnknownField: (signal) => Buffer.concat([grpc.encode(signal, items[signal]()), futureField]),
  exchange: async (port, signal, bytes, coding, more) => {
    const client = new Client(`${host}:${port}`, credentials.createInsecure(), {
      'grpc.default_compression_algorithm': coding === 'gzip' ? 2 : coding === 'deflate' ? 1 : 0,
      'grpc.max_send_message_length': -1,
    });
    const metadata = new Metadata();
    if (more?.token !== undefined) metadata.set('authorization', `Bearer ${more.token}`);
    const path = more?.path ?? `/opentelemetry.proto.collector.${services[signal]}/Export`;
    const { error, response } = await call(client, path, coding === 'gzip' ? plainOf(bytes) : bytes, metadata);
    client.close();
    if (error === null) {
      const decoded = responseTypes[signal].toObject(responseTypes[signal].decode(response ?? Buffer.alloc(0)), { longs: Number });
      return { is: 'ok', ...partialOf(decoded, signal), mayRetry: false, retryAfterS: undefined, accepts: '' };
    }
    const details = error.metadata.get('grpc-status-details-bin')[0];
    const said = statusType.toObject(statusType.decode(details as Buffer)) as {
      code: number;
      message: string;
      details?: { typeUrl: string; value: Uint8Array }[];
    };
    expect(said.code, 'the status in the details is that of the trailers').toBe(error.code);
    expect(error.details, 'and so is the message').toBe(said.message);
    const retry = said.details?.find(({ typeUrl }) => typeUrl === 'type.googleapis.com/google.rpc.RetryInfo');
    const delay =
      retry === undefined
        ? undefined
        : (retryInfoType.toObject(retryInfoType.decode(retry.value), { longs: Number }) as { retryDelay: { seconds: number } });
    return {
      is: codes[error.code] ?? 'failed',
      rejected: 0,
      message: said.message,
      mayRetry: error.code === status.UNAVAILABLE || (error.code === status.RESOURCE_EXHAUSTED && retry !== undefined),
      retryAfterS: delay?.retryDelay.seconds,
      accepts: String(error.metadata.get('grpc-accept-encoding')[0] ?? ''),
    };
  },
};
/** The client compresses by itself. */
const plains = new WeakMap<Buffer, Buffer>();
const plainOf = (bytes: Buffer): Buffer => plains.get(bytes) ?? bytes;
const gzipped = (bytes: Buffer): Buffer => {
  const result = gzipSync(bytes);
  plains.set(result, bytes);
  return result;
};

const transports = [overHttp('OTLP/HTTP protobuf', 'application/x-protobuf'), overHttp('OTLP/HTTP JSON', 'application/json'), grpc];
const signals: readonly Signal[] = ['traces', 'logs', 'metrics'];
const everywhere = transports.flatMap((transport) =>
  (['', 'gzip'] as const).flatMap((coding) =>
    signals.map((signal) => ({ name: `${transport.name}, ${coding === '' ? 'plain' : coding}, ${signal}`, transport, coding, signal })),
  ),
);
type Place = (typeof everywhere)[number];

const coded = ({ coding }: Place, bytes: Buffer): Buffer => (coding === 'gzip' ? gzipped(bytes) : bytes);

describe('a service', () => {
  const ports = new Map<string, number>();
  let close: () => Promise<void>;
  beforeAll(async () => {
    const ingest = await startIngest({
      host,
      httpPort: 0,
      grpcPort: 0,
      journal: openMemoryJournal(),
      clock: systemClock,
      onOperations: () => undefined,
      onFailure: () => undefined,
    });
    for (const { name } of transports) ports.set(name, (name === 'OTLP/gRPC' ? ingest.grpcPort : ingest.httpPort) ?? 0);
    close = () => ingest.close();
  });
  afterAll(() => close());
  const exchange = (place: Place, bytes: Buffer): Promise<Said> =>
    place.transport.exchange(ports.get(place.transport.name) ?? 0, place.signal, bytes, place.coding);

  describe.each(everywhere)('$name', (place) => {
    const encoded = (request: object): Buffer => coded(place, place.transport.encode(place.signal, request));

    test('full success: the response of the signal, partial_success unset', async () => {
      expect(await exchange(place, encoded(items[place.signal]()))).toMatchObject({ is: 'ok', rejected: 0, message: '' });
    });

    test.each([
      ['nothing at all', () => ({})],
      ['resources without items', () => withoutItems[place.signal]],
    ])('a request that carries %s is a success', async (_, request) => {
      expect(await exchange(place, encoded(request()))).toMatchObject({ is: 'ok', rejected: 0, message: '' });
    });

    test('bad data is refused for good, in the request’s encoding, and says why', async () => {
      const said = await exchange(place, coded(place, place.transport.malformed));
      expect(said).toMatchObject({ is: 'bad', mayRetry: false, retryAfterS: undefined });
      expect(said.message.length).toBeGreaterThan(5);
    });

    test('fields of a later version are ignored, and named where names travel', async () => {
      const said = await exchange(place, coded(place, place.transport.withUnknownField(place.signal)));
      expect(said).toMatchObject({ is: 'ok', rejected: 0 });
      if (place.transport.warnsOfUnknownFields) expect(said.message).toMatch(/unknown field "resource(Spans|Logs|Metrics)\.novelty"/);
      else expect(said.message).toBe('');
    });
  });

  test.each(everywhere.filter(({ signal }) => signal === 'traces'))(
    '$name: what is rejected is counted and explained, the rest is taken',
    async (place) => {
      const said = await exchange(place, coded(place, place.transport.encode('traces', items.traces(true))));
      expect(said).toMatchObject({ is: 'ok', rejected: 1, mayRetry: false });
      expect(said.message).toMatch(/1 with a trace id/);
    },
  );
});

describe('a receiver', () => {
  const accepted: Receipt = { is: 'accepted', rejected: 0, message: '' };
  const withReceiver = async <T>(
    transport: Transport,
    options: Partial<ReceiverOptions>,
    body: (port: number) => Promise<T>,
  ): Promise<T> => {
    const receiver = await transport.open({ onPayload: () => Promise.resolve(accepted), ...options });
    try {
      return await body(receiver.port);
    } finally {
      await receiver.close();
    }
  };

  test.each(everywhere)('$name: what came is what was sent', async (place) => {
    const bytes = place.transport.encode(place.signal, items[place.signal]());
    const seen: Payload[] = [];
    const onPayload = (payload: Payload): Promise<Receipt> => {
      seen.push(payload);
      return Promise.resolve(accepted);
    };
    await withReceiver(place.transport, { onPayload }, (port) =>
      place.transport.exchange(port, place.signal, coded(place, bytes), place.coding),
    );
    expect(seen.map(({ signal, compression, body }) => [signal, compression, body.equals(bytes)])).toEqual([
      [place.signal, place.coding === '' ? 'none' : 'gzip', true],
    ]);
  });

  test.each(everywhere)('$name: a message over the limit, after decompression, is refused for good', async (place) => {
    const large = place.transport.encode(place.signal, withoutItems[place.signal]);
    const padded = Buffer.concat([large, Buffer.alloc(70_000, ' ')]);
    const said = await withReceiver(place.transport, { largestBodyBytes: 65_536 }, (port) =>
      place.transport.exchange(port, place.signal, coded(place, padded), place.coding),
    );
    expect(said).toMatchObject({ is: 'too-large', mayRetry: false, retryAfterS: undefined });
    expect(said.message).toContain('65536 bytes');
  });

  test.each(everywhere)('$name: under pressure it says when to come back', async (place) => {
    const receipt: Receipt = { is: 'busy', message: 'the journal is full', retryAfterS: 7 };
    const said = await withReceiver(place.transport, { onPayload: () => Promise.resolve(receipt) }, (port) =>
      place.transport.exchange(port, place.signal, coded(place, place.transport.encode(place.signal, {})), place.coding),
    );
    expect(said).toMatchObject({ is: 'later', mayRetry: true, retryAfterS: 7, message: 'the journal is full' });
  });

  test.each(transports)('$name: beyond the requests in flight it says so at once, and takes more when one is done', async (transport) => {
    const pending: ((receipt: Receipt) => void)[] = [];
    const onPayload = (): Promise<Receipt> => new Promise((resolve) => pending.push(resolve));
    await withReceiver(transport, { onPayload, mostInFlight: 2 }, async (port) => {
      const exchange = (): Promise<Said> => transport.exchange(port, 'traces', transport.encode('traces', {}), '');
      const first = [exchange(), exchange()];
      while (pending.length < 2) await new Promise((resolve) => setImmediate(resolve));
      const third = await exchange();
      expect(third).toMatchObject({ is: 'later', mayRetry: true });
      expect(third.retryAfterS).toBeGreaterThan(0);
      for (const resolve of pending.splice(0)) resolve(accepted);
      expect((await Promise.all(first)).map(({ is }) => is)).toEqual(['ok', 'ok']);
      const last = exchange();
      while (pending.length < 1) await new Promise((resolve) => setImmediate(resolve));
      pending[0]?.(accepted);
      expect((await last).is).toBe('ok');
    });
  });

  test.each(everywhere)('$name: beyond the bytes in flight, decompressed, it says so, and takes more when they are gone', async (place) => {
    const pending: ((receipt: Receipt) => void)[] = [];
    const onPayload = (): Promise<Receipt> => new Promise((resolve) => pending.push(resolve));
    const body = coded(place, Buffer.concat([place.transport.encode(place.signal, {}), Buffer.alloc(60_000, ' ')]));
    await withReceiver(place.transport, { onPayload, largestBodyBytes: 80_000, mostBytesInFlight: 100_000 }, async (port) => {
      const exchange = (): Promise<Said> => place.transport.exchange(port, place.signal, body, place.coding);
      const first = exchange();
      while (pending.length < 1) await new Promise((resolve) => setImmediate(resolve));
      expect(await exchange()).toMatchObject({ is: 'later', mayRetry: true });
      pending.pop()?.(accepted);
      expect((await first).is).toBe('ok');
      const last = exchange();
      while (pending.length < 1) await new Promise((resolve) => setImmediate(resolve));
      pending.pop()?.(accepted);
      expect((await last).is).toBe('ok');
    });
  });

  test.each(everywhere)('$name: a payload that could not be stored is asked for again', async (place) => {
    const said = await withReceiver(place.transport, { onPayload: () => Promise.reject(new Error('disk')) }, (port) =>
      place.transport.exchange(port, place.signal, coded(place, place.transport.encode(place.signal, {})), place.coding),
    );
    expect(said).toMatchObject({ is: 'later', mayRetry: true, retryAfterS: 5 });
  });

  const otherCodings: readonly (readonly [string, (bytes: Buffer) => Buffer])[] = [
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
    ['zstd', (bytes) => bytes],
    ['snappy', (bytes) => bytes],
  ];
  test.each(
    transports.flatMap((transport) =>
      // grpc-js sends deflate, and no other that is not known to it.
      otherCodings
        .filter(([coding]) => transport !== grpc || coding === 'deflate')
        .map(([coding, compress]) => ({ name: `${transport.name}, ${coding}`, transport, coding, compress })),
    ),
  )('$name: another compression is refused, with those that are taken', async ({ transport, coding, compress }) => {
    const plain = transport.encode('traces', items.traces());
    const said = await withReceiver(transport, {}, (port) =>
      transport.exchange(port, 'traces', transport === grpc ? plain : compress(plain), coding),
    );
    expect(said).toMatchObject({ is: 'not-supported', mayRetry: false });
    expect(said.accepts).toContain('gzip');
  });

  test.each(everywhere)('$name: a token is asked for where one is set', async (place) => {
    const bytes = coded(place, place.transport.encode(place.signal, {}));
    await withReceiver(place.transport, { token: 'a secret of sixteen' }, async (port) => {
      const attempt = async (token?: string): Promise<string> =>
        (await place.transport.exchange(port, place.signal, bytes, place.coding, token === undefined ? {} : { token })).is;
      expect([await attempt(), await attempt('a secret of sixteem'), await attempt('a secret of sixteen')]).toEqual([
        'unauthenticated',
        'unauthenticated',
        'ok',
      ]);
    });
  });

  test.each(transports)('$name: a method that is not OTLP’s is refused for good', async (transport) => {
    const path =
      transport === grpc ? '/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export' : '/v1development/profiles';
    const said = await withReceiver(transport, {}, (port) =>
      transport.exchange(port, 'traces', transport.encode('traces', {}), '', { path }),
    );
    expect(said.is).toBe(transport === grpc ? 'not-supported' : 'unknown-method');
    expect(said.mayRetry).toBe(false);
    expect(said.message).toContain(path.slice(0, 40));
  });
});
