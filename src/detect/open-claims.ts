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
 * COMMIT comes later, and in another span. So they wait until the traces of those writes show it, or are over, and are dropped where these
 * say that a write was not committed by then. A trace that goes on is waited for as long as one with missing parents is.
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

  /** Tells what stands. `lookAt`: what there is of a trace that is not over; `unseen` where that cannot be shown. */
  settle(atUs: number, lookAt: (traceId: string) => TraceView | 'unseen' | undefined): void {
    if (atUs !== Number.POSITIVE_INFINITY) this.#late.sweep(atUs);
    if (this.#waiting.length === 0) return;
    const open = new Map<string, TraceView | 'unseen' | undefined>();
    const viewOf = (traceId: string): TraceView | 'unseen' | undefined => {
      if (!open.has(traceId)) open.set(traceId, lookAt(traceId));
      return open.get(traceId);
    };
    const judge = ({ restsOn = [], atUs: foundUs }: Finding, dueUs: number): 'stands' | 'falls' | 'waits' => {
      let isOpen = false;
      for (const one of restsOn) {
        const view = dueUs > atUs ? viewOf(one.span.traceId) : undefined;
        const committedUs = (view === undefined ? undefined : committedIn(view, one)) ?? this.#committedUs(one, foundUs);
        if (committedUs === 'open') isOpen = true;
        else if (committedUs > one.byUs) return 'falls';
      }
      return isOpen ? 'waits' : 'stands';
    };
    const waiting: Claim[] = [];
    for (const { finding, tell, dueUs } of this.#waiting) {
      let said: Finding | undefined = finding;
      while (said !== undefined) {
        const verdict = judge(said, dueUs);
        if (verdict === 'stands') tell(said);
        if (verdict === 'waits') waiting.push({ finding: said, tell, dueUs });
        if (verdict !== 'falls') break;
        said = said.otherwise;
      }
    }
    this.#waiting = waiting;
  }

  /** 0 where nothing says that it was later than its span's end. */
  #committedUs({ span, transaction }: RestsOn, atUs: number): number {
    const own = this.#late.get(spanKey(span), atUs) ?? 0;
    return transaction === undefined ? own : Math.max(own, this.#late.get(transactionKey(span, transaction), atUs) ?? 0);
  }
}

/** The same as far as the trace shows it before it is over; undefined where that has no such write. */
function committedIn(view: TraceView | 'unseen', { span, transaction }: RestsOn): number | 'open' | undefined {
  if (view === 'unseen') return 'open';
  let committedUs: number | undefined;
  for (const unit of view.units) {
    for (const { write, is, settledUs, settledBy } of writeOutcomes(unit)) {
      if (write.spanId !== span.spanId && (transaction === undefined || write.facts?.transactionId !== transaction)) continue;
      committedUs ??= 0;
      if (write.facts?.transactionOutcome !== 'committed') continue;
      // A transaction may end as long as its request goes on.
      if (is === 'unknown' || (is === 'committed' && settledBy === undefined && !view.complete)) return 'open';
      if (is === 'aborted') return Number.POSITIVE_INFINITY;
      if (settledUs > write.endUs + atOnceUs) committedUs = Math.max(committedUs, settledUs);
    }
  }
  return committedUs;
}

const spanKey = ({ traceId, spanId }: SpanRef): string => `${traceId}${spanId}`;
const transactionKey = ({ traceId }: SpanRef, transaction: string): string => `${traceId}\0${transaction}`;
