import { packHex } from '../../../src/base/hex-words.ts';
import type { Rng } from '../../../src/base/rng.ts';
import type { ConsistencyFacts, Operation, SpanIds } from '../../../src/domain/operation.ts';

export interface StoreHistory {
  /** The next `count` transactions' operations, in order of ends. */
  next(count: number): readonly Operation[];
  nowUs(): number;
  injected(): number;
}

/** Rows and sessions in use at a time. */
const keyCount = 10_000;
const sessionCount = 1_000;
const keysPerSession = keyCount / sessionCount;
/** One pair of transactions in this many shows write skew. */
const skewEvery = 5_000;

/**
 * A single store with integer versions that runs transactions one after the other (so serializable), five operations each, but for injected
 * pairs: two transactions read two keys each before the other writes one of them.
 */
export function createStoreHistory(rng: Rng): StoreHistory {
  const versions = new Int32Array(keyCount);
  const keys = Array.from({ length: keyCount }, (_, nth) => `k${nth}`);
  const sessions = Array.from({ length: sessionCount }, (_, nth) => `s${nth}`);
  let atUs = 1_767_600_000_000_000;
  let made = 0;
  let injected = 0;

  let lastTrace = '';
  let lastTraceId = '';
  let lastIds = idsOfTrace('');
  const operation = (kind: 'read' | 'write', trace: string, index: number, key: number, version: number, session: string): Operation => {
    if (trace !== lastTrace) [lastTrace, lastTraceId, lastIds] = [trace, traceIdOf(trace), idsOfTrace(trace)];
    const facts: ConsistencyFacts = {
      domain: '',
      objectType: 'row',
      objectKey: keys[key] as string,
      version: BigInt(version),
      versionBase: kind === 'write' ? BigInt(version - 1) : undefined,
      hlc: '',
      valueDigest: '',
      replicaId: '',
      replicaRole: '',
      sessionId: session,
      idempotencyKey: '',
      sagaId: '',
      sagaName: '',
      sagaStep: '',
      sagaOutcome: '',
      outboxId: '',
      transactionId: trace,
      transactionOutcome: 'committed',
    };
    return {
      kind,
      traceId: lastTraceId,
      ids: lastIds,
      spanId: trace,
      parentSpanId: '',
      index,
      service: 'store',
      spanName: kind,
      spanKind: 3,
      startUs: atUs,
      endUs: atUs + 5,
      failed: false,
      sqlState: '',
      errorType: '',
      httpStatus: 0,
      system: 'postgresql',
      host: '',
      namespace: '',
      target: 'row',
      statement: undefined,
      links: [],
      message: undefined,
      key: '',
      rows: -1,
      session: '',
      idempotencyKey: '',
      facts,
    };
  };

  return {
    next(count) {
      const operations: Operation[] = [];
      for (let i = 0; i < count; i += 1) {
        atUs += 10;
        made += 1;
        const trace = flat(made.toString(16).padStart(16, '0'));
        const sessionNumber = rng.int(sessionCount);
        const session = sessions[sessionNumber] as string;
        if (made % skewEvery === 7 && i + 1 < count) {
          injected += 1;
          i += 1;
          made += 1;
          const other = flat(made.toString(16).padStart(16, '0'));
          const x = rng.int(keyCount - 1);
          const y = x + 1;
          const [vx, vy] = [versions[x] as number, versions[y] as number];
          operations.push(operation('read', trace, 0, x, vx, ''), operation('read', trace, 1, y, vy, ''));
          operations.push(operation('read', other, 0, x, vx, ''), operation('read', other, 1, y, vy, ''));
          versions[x] = vx + 1;
          versions[y] = vy + 1;
          operations.push(operation('write', trace, 2, x, vx + 1, ''), operation('write', other, 2, y, vy + 1, ''));
          continue;
        }
        for (let index = 0; index < 5; index += 1) {
          // Most of what a session touches is its own.
          const key = index < 4 ? sessionNumber * keysPerSession + rng.int(keysPerSession) : rng.int(keyCount);
          const isWrite = rng.next() < 0.5;
          if (isWrite) versions[key] = (versions[key] as number) + 1;
          operations.push(operation(isWrite ? 'write' : 'read', trace, index, key, versions[key] as number, session));
        }
      }
      return operations;
    },
    nowUs: () => atUs,
    injected: () => injected,
  };
}

/** A text of its own, as decoders make them: one put together of parts would be flattened in the checker's time. */
function traceIdOf(trace: string): string {
  return flat(`1${trace.slice(1)}${trace}`);
}

function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** The same ids as numbers, which decoders give with them. */
function idsOfTrace(trace: string): SpanIds {
  const words = new Int32Array(6);
  packHex(traceIdOf(trace), words, 0, 4);
  packHex(trace, words, 4, 2);
  const [traceA = 0, traceB = 0, traceC = 0, traceD = 0, spanA = 0, spanB = 0] = words;
  return { traceA, traceB, traceC, traceD, spanA, spanB, parentA: 0, parentB: 0 };
}
