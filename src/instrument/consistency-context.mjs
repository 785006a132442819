import { context, createContextKey } from '@opentelemetry/api';

/** Facts that hold for everything done inside a piece of work, and the span processor that writes them on its spans. */
const key = createContextKey('homeostat.consistency');

const names = {
  domain: 'consistency.domain',
  sessionId: 'consistency.session.id',
  idempotencyKey: 'consistency.idempotency.key',
  sagaId: 'consistency.saga.id',
  sagaName: 'consistency.saga.name',
  sagaStep: 'consistency.saga.step',
  outboxId: 'consistency.outbox.id',
  replicaId: 'consistency.replica.id',
  replicaRole: 'consistency.replica.role',
};

/** @type {import('./instrument.d.mts').withConsistency} */
export function withConsistency(facts, work) {
  const outer = context.active().getValue(key);
  return context.with(context.active().setValue(key, { ...outer, ...facts }), work);
}

/** @implements {import('./instrument.d.mts').ConsistencySpanProcessor} */
export class ConsistencySpanProcessor {
  #replicas;

  constructor(options = {}) {
    this.#replicas = new Map(Object.entries(options.replicas ?? {}).map(([host, replica]) => [host.toLowerCase(), replica]));
  }

  onStart(span, parentContext) {
    const facts = parentContext.getValue(key);
    if (facts !== undefined) {
      for (const [fact, attribute] of Object.entries(names)) {
        const value = facts[fact];
        if (value !== undefined && span.attributes?.[attribute] === undefined) span.setAttribute(attribute, value);
      }
    }
    const replica = this.#replicaOf(span.attributes ?? {});
    if (replica === undefined) return;
    span.setAttribute('consistency.replica.id', replica.id);
    if (replica.role !== undefined) span.setAttribute('consistency.replica.role', replica.role);
  }

  onEnd() {}

  forceFlush() {
    return Promise.resolve();
  }

  shutdown() {
    return Promise.resolve();
  }

  #replicaOf(attributes) {
    if (this.#replicas.size === 0) return undefined;
    const host = attributes['server.address'] ?? attributes['net.peer.name'];
    if (typeof host !== 'string') return undefined;
    const port = attributes['server.port'] ?? attributes['net.peer.port'];
    return this.#replicas.get(`${host}:${port}`.toLowerCase()) ?? this.#replicas.get(host.toLowerCase());
  }
}
