import type { SpanRef } from '../domain/anomaly.ts';
import type { Finding, RestsOn } from './detector.ts';
import { createExpiringMap, type ExpiringMap } from './expiring-map.ts';
import type { TraceView } from './trace-view.ts';
import { writeOutcomes } from './write-outcome.ts';

/** A COMMIT that follows its write by less is within what clocks differ by. */
const atOnceUs = 20_000;

interface Claim {
  readonly finding: Finding;
  readonly tell: (finding: Finding) => void;
  readonly dueUs: number;
}

/**
 * Findings that rest on writes having been committed when their spans ended. A span knows of its own statement only; in a transaction the
 * COMMIT comes later, and in another span. So they wait until the traces of those writes are over, and are dropped where these say that a
 * write was not committed by then. A trace that goes on is waited for as long as one with missing parents is.
 */
export class OpenClaims {
  readonly #patienceUs: number;
  /** By the write's span, and by its transaction: when it was committed, where that was later; Infinity where it was not, or is not known to have been. */
  readonly #late: ExpiringMap<number>;
  #waiting: Claim[] = [];

  constructor(patienceUs: number, retainUs: number) {
    this.#patienceUs = patienceUs;
    this.#late = createExpiringMap(retainUs);
  }

  learn(trace: TraceView): void {
    if (!trace.hasFacts || !trace.hasWrites) return;
    for (const unit of trace.units) {
      if (unit.transactions.length === 0) continue;
      for (const { write, is, settledUs } of writeOutcomes(unit)) {
        // What says itself that it was not committed is taken for that.
        if (write.facts?.transactionOutcome !== 'committed') continue;
        const committedUs = is === 'committed' ? settledUs : Number.POSITIVE_INFINITY;
        if (committedUs <= write.endUs + atOnceUs) continue;
        this.#late.set(spanKey(write), committedUs, trace.endUs);
        const { transactionId } = write.facts;
        if (transactionId !== '') this.#late.set(transactionKey(write, transactionId), committedUs, trace.endUs);
      }
    }
  }

  hold(finding: Finding, tell: (finding: Finding) => void): void {
    const endUs = Math.max(...(finding.restsOn ?? []).map((write) => write.endUs));
    this.#waiting.push({ finding, tell, dueUs: Math.max(endUs, finding.atUs) + this.#patienceUs });
  }

  /** Tells what stands, of all whose writes' traces are over at `atUs`. */
  settle(atUs: number, isOpen: (traceId: string) => boolean): void {
    if (atUs !== Number.POSITIVE_INFINITY) this.#late.sweep(atUs);
    if (this.#waiting.length === 0) return;
    const waiting: Claim[] = [];
    for (const claim of this.#waiting) {
      const { restsOn = [] } = claim.finding;
      if (claim.dueUs > atUs && restsOn.some(({ span }) => isOpen(span.traceId))) waiting.push(claim);
      else if (restsOn.every((one) => this.#committedUs(one, claim.finding.atUs) <= one.byUs)) claim.tell(claim.finding);
    }
    this.#waiting = waiting;
  }

  /** 0 where nothing says that it was later than its span's end. */
  #committedUs({ span, transaction }: RestsOn, atUs: number): number {
    const own = this.#late.get(spanKey(span), atUs) ?? 0;
    return transaction === undefined ? own : Math.max(own, this.#late.get(transactionKey(span, transaction), atUs) ?? 0);
  }
}

const spanKey = ({ traceId, spanId }: SpanRef): string => `${traceId}${spanId}`;
const transactionKey = ({ traceId }: SpanRef, transaction: string): string => `${traceId}\0${transaction}`;
