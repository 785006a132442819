import type { SpanRef } from '../../domain/anomaly.ts';
import { historyDetector, type Report } from '../detector.ts';
import { exampleOperations } from '../example.ts';
import { findCycles, type Cycle } from '../isolation-cycles.ts';
import { type Aberration, createIsolationHistory, type Edge, type Transaction, type VersionRecord } from '../isolation-history.ts';
import { versionWords } from '../version-order.ts';

const modelWords: Readonly<Record<string, string>> = {
  G0: 'writes of two transactions are interleaved (dirty write)',
  G1a: 'a transaction read what an aborted one had written (aborted read)',
  G1b: 'a transaction read a version that its writer replaced before it committed (intermediate read)',
  G1c: 'transactions saw each other’s writes in a circle (circular information flow)',
  'G-single': 'a transaction missed a write that it also depends on (read skew, lost update)',
  'G2-item': 'transactions each missed a write of the other (write skew)',
  internal: 'a transaction did not read its own write',
};

/** Guarantees by the weakest level that forbids the class. */
const fixWords: Readonly<Record<string, string>> = {
  G0: 'Even READ UNCOMMITTED forbids this: look for writes outside transactions, or for two stores that take writes of one object.',
  G1a: 'Use READ COMMITTED or stronger, and do not share uncommitted values through caches or messages.',
  G1b: 'Use READ COMMITTED or stronger, and write an object once per transaction where caches or messages can carry it out.',
  G1c: 'Use READ COMMITTED or stronger; look for values that leave a transaction before it commits.',
  'G-single': 'Use snapshot isolation (REPEATABLE READ in PostgreSQL), or lock what is read and then written (`SELECT ... FOR UPDATE`).',
  'G2-item':
    'Use SERIALIZABLE, or lock the rows whose reading decides the write (`SELECT ... FOR UPDATE`), or put the rule into a constraint.',
  internal: 'Read from where the transaction writes: a read inside a transaction went to a replica or a cache.',
};

/** Dependency cycles among transactions, with the smallest cycle in words. */
export const isolation = historyDetector(
  {
    id: 'isolation',
    scope: 'history',
    grades: ['proven'],
    title: 'Isolation violated',
    sentence: 'Transactions observed each other in a way that no order of them explains.',
    fix: 'Raise the isolation level of the transactions involved, or lock what they read before they write.',
    needs: 'consistency.object.type, .object.key, .version, .version.base, .transaction.id, .transaction.outcome',
    options: {
      windowMs: {
        is: 'number',
        unit: 'ms',
        default: 60_000,
        min: 100,
        max: 3_600_000,
        says: 'How long a transaction can still be part of a cycle.',
      },
      roundMs: { is: 'number', unit: 'ms', default: 500, min: 10, max: 60_000, says: 'Event time between two searches for cycles.' },
      keep: {
        is: 'number',
        unit: 'count',
        default: 20_000,
        min: 100,
        max: 5_000_000,
        says: 'Transactions remembered at most, about 1 kB each.',
      },
    },
    example: () => writeSkew(false),
    twin: () => writeSkew(true),
  },
  (settings, context) => {
    const history = createIsolationHistory();
    const windowUs = settings.windowMs * 1000;
    const roundUs = settings.roundMs * 1000;
    // A search costs a pass over what is remembered, so a round waits for a share of it to be new.
    const roundTransactions = Math.max(1000, Math.floor(settings.keep / 4));
    let round = 0;
    let roundEndUs = Number.POSITIVE_INFINITY;

    const search = (atUs: number, report: Report): void => {
      if (history.news().length > 0) {
        for (const aberration of history.aberrations()) tellAberration(aberration, context, report);
        round += 1;
        for (const cycle of findCycles(history.news(), round)) tellCycle(cycle, context, report);
      }
      history.forget(atUs - windowUs, settings.keep);
    };

    return {
      step(operation, report) {
        const facts = operation.facts;
        if (facts === undefined || facts.version === undefined) return;
        if (roundEndUs === Number.POSITIVE_INFINITY) roundEndUs = (Math.floor(operation.endUs / roundUs) + 1) * roundUs;
        // Rounds end on a grid of event time, or after a number of transactions in order of ends: how input is cut changes neither.
        if (operation.endUs >= roundEndUs || history.news().length >= roundTransactions) {
          search(Math.min(operation.endUs, roundEndUs), report);
          roundEndUs = (Math.floor(operation.endUs / roundUs) + 1) * roundUs;
        }
        history.step(operation);
      },
      advance(atUs, report) {
        if (atUs < roundEndUs || atUs === Number.POSITIVE_INFINITY || history.news().length === 0) return;
        search(roundEndUs, report);
        roundEndUs = Number.POSITIVE_INFINITY;
      },
      finish: search,
      size: () => history.size,
    };
  },
);

type Places = {
  readonly placeOf: (objectType: string, domain: string) => { readonly domainName: string; readonly collection: string | undefined };
};

function tellCycle(cycle: Cycle, context: Places, report: Report): void {
  // The same cycle can be found from any of its edges: its identity starts at the smallest key.
  const keys = cycle.edges.map((edge) => edge.from.key);
  const start = keys.indexOf(keys.toSorted()[0] as string);
  const edges = [...cycle.edges.slice(start), ...cycle.edges.slice(0, start)];
  const names = new Map<Transaction, string>(edges.map((edge, i) => [edge.from, `T${i + 1}`]));
  const object = edges.find((edge) => edge.seen !== undefined)?.seen?.object;
  const place = context.placeOf(object?.type ?? '', object?.domain ?? '');
  const base = cycle.model.replace('-session', '');
  const isSession = base !== cycle.model;
  const services = [...new Set(edges.map((edge) => edge.from.service))];
  report({
    place: edges.map((edge) => edge.from.key).join('\u0001'),
    grade: 'proven',
    model: cycle.model,
    atUs: Math.max(...edges.map((edge) => edge.from.endUs)),
    complete: true,
    spans: edges.map((edge) => witness(edge.from)),
    domain: place.domainName,
    ...(object === undefined ? {} : { collection: place.collection ?? object.type, objectKey: object.key }),
    service: services[0] ?? '',
    facts: { model: cycle.model, transactions: edges.length, edges: edges.map((edge) => edge.kind).join(' ') },
    tell: () => ({
      title: `${cycle.model}: ${modelWords[base] ?? base}${isSession ? ', given the order of a session' : ''}`,
      explanation: [
        `Let ${edges.map((edge, i) => `T${i + 1} be ${transactionWords(edge.from)}`).join(', ')}.`,
        ...edges.map((edge, i) => {
          const isLast = i === edges.length - 1;
          return `${isLast ? 'However, ' : ''}${names.get(edge.from)} < ${names.get(edge.to)}, because ${edgeWords(edge, names)}${isLast ? ': a contradiction' : ''}.`;
        }),
      ].join(' '),
      fix: fixWords[base] ?? '',
    }),
  });
}

function tellAberration(aberration: Aberration, context: Places, report: Report): void {
  const { reader, record, spanId } = aberration;
  const writer = aberration.is === 'internal' ? reader : record.writer;
  if (writer === undefined) return;
  const object = objectWords(record);
  const place = context.placeOf(record.object.type, record.object.domain);
  const explanation =
    aberration.is === 'internal'
      ? `T1, ${transactionWords(reader)}, wrote ${versionWords(aberration.wrote.version)} of ${object} and then read ${versionWords(record.version)} of it.`
      : aberration.is === 'G1a'
        ? `T2, ${transactionWords(reader)}, read ${versionWords(record.version)} of ${object}, which T1, ${transactionWords(writer)}, had written and which was never committed: T1 aborted.`
        : `T2, ${transactionWords(reader)}, read ${versionWords(record.version)} of ${object}, which T1, ${transactionWords(writer)}, replaced by a later write of its own before it committed.`;
  report({
    place: `${reader.key}\0${record.object.type}\0${record.object.key}`,
    grade: 'proven',
    model: aberration.is,
    atUs: reader.endUs,
    complete: true,
    spans: [...(writer === reader ? [] : [witness(writer)]), { traceId: reader.traceId, spanId }],
    domain: place.domainName,
    collection: place.collection ?? record.object.type,
    objectKey: record.object.key,
    service: reader.service,
    facts: { model: aberration.is, version: String(record.version) },
    tell: () => ({ title: `${aberration.is}: ${modelWords[aberration.is] ?? ''}`, explanation, fix: fixWords[aberration.is] ?? '' }),
  });
}

function edgeWords(edge: Edge, names: ReadonlyMap<Transaction, string>): string {
  const from = names.get(edge.from) ?? '';
  const to = names.get(edge.to) ?? '';
  const { seen, next } = edge;
  if (seen === undefined) return `${to} followed ${from} in the same session`;
  const object = objectWords(seen);
  if (edge.kind === 'wr') return `${to} read ${versionWords(seen.version)} of ${object}, which ${from} wrote`;
  if (edge.kind === 'ww') return `${to} wrote ${versionWords(next?.version)} of ${object} over ${from}’s ${versionWords(seen.version)}`;
  return `${from} read ${versionWords(seen.version)} of ${object} and did not see ${versionWords(next?.version)}, which ${to} wrote`;
}

function objectWords(record: VersionRecord): string {
  return record.object.type === '' ? record.object.key : `${record.object.type} ${record.object.key}`;
}

function transactionWords(transaction: Transaction): string {
  return `transaction ${transaction.key.slice(transaction.key.indexOf('\0') + 1)} of ${transaction.service}`;
}

function witness(transaction: Transaction): SpanRef {
  return { traceId: transaction.traceId, spanId: transaction.spanId };
}

function writeSkew(isSerial: boolean) {
  const doctor = (trace: string, at: number, own: string, other: string, seen: bigint) => [
    {
      kind: 'read' as const,
      trace,
      at,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: own, version: 1n, transactionId: trace },
    },
    {
      kind: 'read' as const,
      trace,
      at: at + 3,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: other, version: seen, transactionId: trace },
    },
    {
      kind: 'write' as const,
      trace,
      at: at + 9,
      service: 'roster',
      facts: { objectType: 'doctor', objectKey: own, version: 2n, versionBase: 1n, transactionId: trace },
    },
  ];
  return exampleOperations(
    [...doctor('alice', 0, 'alice', 'bob', 1n), ...doctor('bob', isSerial ? 40 : 1, 'bob', 'alice', isSerial ? 2n : 1n)].map((step, i) => ({
      ...step,
      span: `s${i}`,
    })),
  );
}
