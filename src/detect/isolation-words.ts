import type { SpanRef } from '../domain/anomaly.ts';
import type { Version } from '../domain/operation.ts';
import type { Finding } from './detector.ts';
import type { Cycle } from './isolation-cycles.ts';
import type { Edge } from './isolation-edges.ts';
import type { Aberration } from './isolation-history.ts';
import { type IsolationTables, none, t, transactionStride, v, versionStride } from './isolation-tables.ts';
import type { ObjectPlace } from './object-place.ts';
import { versionWords } from './version-order.ts';

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

interface Places {
  readonly placeOf: (objectType: string, domain: string) => ObjectPlace;
}

/** Findings in words, as Elle tells them: each step of a cycle with its reason, and the last as the contradiction. */
export function createWords(tables: IsolationTables): {
  findingOfCycle(cycle: Cycle, context: Places): Finding;
  findingOfAberration(aberration: Aberration, context: Places): Finding;
} {
  const { transactions, versions } = tables;
  const nameOf = (row: number): string => tables.nameOf(row);
  const valueOf = (row: number): Version => tables.toldOf(row) ?? BigInt(versions.doubles[(row * versionStride + v.order) >> 1] ?? 0);
  const versionOf = (row: number): string => versionWords(valueOf(row));
  const endUsOf = (row: number): number => transactions.doubles[(row * transactionStride + t.endUs) >> 1] ?? 0;
  const objectOf = (version: number) => tables.objectAt(versions.words[version * versionStride + v.object] ?? none);
  const objectWords = (version: number): string => {
    const { type, key } = objectOf(version);
    return type === '' ? key : `${type} ${key}`;
  };
  const transactionWords = (row: number): string => `transaction ${nameOf(row)} of ${tables.serviceOf(row)}`;
  const witness = (row: number): SpanRef => tables.spanOf(row);
  /** What tells a transaction from all others, whatever row it has. */
  const identity = (row: number): string => `${nameOf(row)}\0${tables.spanOf(row).traceId}`;

  const edgeWords = (edge: Edge, from: string, to: string): string => {
    const { seen, next } = edge;
    if (edge.kind === 'so') return `${to} followed ${from} in the same session`;
    const object = objectWords(seen);
    if (edge.kind === 'wr') return `${to} read ${versionOf(seen)} of ${object}, which ${from} wrote`;
    if (edge.kind === 'ww') return `${to} wrote ${versionOf(next)} of ${object} over ${from}’s ${versionOf(seen)}`;
    return `${from} read ${versionOf(seen)} of ${object} and did not see ${versionOf(next)}, which ${to} wrote`;
  };

  return {
    findingOfCycle(cycle, context) {
      // The same cycle can be found from any of its edges: its identity starts at the smallest name.
      const ids = cycle.edges.map((edge) => identity(edge.from));
      const start = ids.indexOf(ids.toSorted()[0] ?? '');
      const edges = [...cycle.edges.slice(start), ...cycle.edges.slice(0, start)];
      const object = objectOf(edges.find((edge) => edge.seen !== none)?.seen ?? none);
      const place = context.placeOf(object.type, object.domain);
      const base = cycle.model.replace('-session', '');
      const isSession = base !== cycle.model;
      return {
        place: edges.map((edge) => identity(edge.from)).join('\u0001'),
        grade: 'proven',
        model: cycle.model,
        atUs: Math.max(...edges.map((edge) => endUsOf(edge.from))),
        complete: true,
        spans: edges.map((edge) => witness(edge.from)),
        restsOn: edges.map(({ from }) => ({
          span: witness(from),
          transaction: nameOf(from),
          endUs: endUsOf(from),
          byUs: Number.MAX_VALUE,
        })),
        domain: place.domainName,
        ...(object.key === '' ? {} : { collection: place.collection ?? object.type, objectKey: object.key }),
        service: tables.serviceOf(edges[0]?.from ?? none),
        facts: { model: cycle.model, transactions: edges.length, edges: edges.map((edge) => edge.kind).join(' ') },
        tell: () => ({
          title: `${cycle.model}: ${modelWords[base] ?? base}${isSession ? ', given the order of a session' : ''}`,
          explanation: [
            `Let ${edges.map((edge, i) => `T${i + 1} be ${transactionWords(edge.from)}`).join(', ')}.`,
            ...edges.map((edge, i) => {
              const isLast = i === edges.length - 1;
              const [from, to] = [`T${i + 1}`, isLast ? 'T1' : `T${i + 2}`];
              return `${isLast ? 'However, ' : ''}${from} < ${to}, because ${edgeWords(edge, from, to)}${isLast ? ': a contradiction' : ''}.`;
            }),
          ].join(' '),
          fix: fixWords[base] ?? '',
        }),
      };
    },

    findingOfAberration(aberration, context) {
      const { reader, version, spanId } = aberration;
      const writer = aberration.is === 'internal' ? reader : aberration.writer;
      const object = objectOf(version);
      const named = objectWords(version);
      const place = context.placeOf(object.type, object.domain);
      const explain = (): string => {
        switch (aberration.is) {
          case 'internal':
            return `T1, ${transactionWords(reader)}, wrote ${versionOf(aberration.wrote)} of ${named} and then read ${versionOf(version)} of it.`;
          case 'G1a':
            return `T2, ${transactionWords(reader)}, read ${versionOf(version)} of ${named}, which T1, ${transactionWords(writer)}, had written and which was never committed: T1 aborted.`;
          case 'G1b':
            return `T2, ${transactionWords(reader)}, read ${versionOf(version)} of ${named}, which T1, ${transactionWords(writer)}, replaced by a later write of its own before it committed.`;
        }
      };
      return {
        place: `${identity(reader)}\0${object.type}\0${object.key}`,
        grade: 'proven',
        model: aberration.is,
        atUs: endUsOf(reader),
        complete: true,
        spans: [...(writer === reader ? [] : [witness(writer)]), { traceId: tables.spanOf(reader).traceId, spanId }],
        domain: place.domainName,
        collection: place.collection ?? object.type,
        objectKey: object.key,
        service: tables.serviceOf(reader),
        facts: { model: aberration.is, version: String(valueOf(version)) },
        tell: () => ({
          title: `${aberration.is}: ${modelWords[aberration.is] ?? ''}`,
          explanation: explain(),
          fix: fixWords[aberration.is] ?? '',
        }),
      };
    },
  };
}
