/** One suggestion: what, why, what it would have cost with and without, and what a person may do about it. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { StoredSuggestion } from '../../io/store/suggestions.ts';
import { CallError, mayApprove, mayOperate, type Me, send } from './api.ts';
import { LineBand, TwoLines } from './chart.tsx';
import { ReasonDialog, toast } from './decide.tsx';
import { Copy } from './empty.tsx';
import { Panel, Tag } from './parts.tsx';
import { number } from './words.ts';

/** How long what has ended stays on the page. */
const shownAfterMs = 3_600_000;
const tones = {
  open: 'waiting',
  approved: 'accent',
  applying: 'accent',
  undoing: 'accent',
  applied: 'verified',
  'rolled-back': 'neutral',
  failed: 'wrong',
  rejected: 'neutral',
  expired: 'neutral',
} as const satisfies Readonly<Record<StoredSuggestion['state'], string>>;

const share = (value: number): string => `${number(100 * value, 100 * value < 10 ? 2 : 1)} %`;
const amount = (value: number): string => number(value, Math.abs(value) < 100 ? 1 : 0);

export function isShown(item: StoredSuggestion, nowMs: number): boolean {
  if (item.state === 'rejected' || item.state === 'expired') return false;
  return item.state === 'open' || item.state === 'approved' || item.state === 'applying' || nowMs - item.updatedAtMs < shownAfterMs;
}

export function SuggestionCard({ item, me }: { readonly item: StoredSuggestion; readonly me: Me }): JSX.Element {
  const [asking, setAsking] = useState<'reject' | 'undo' | null>(null);
  const { replay, action } = item;
  const gain = replay.costWithout === 0 ? 0 : ((replay.costWithout - replay.costWith) / replay.costWithout) * 100;
  const path = `/api/v1/suggestions/${encodeURIComponent(item.id)}`;
  const act = async (verb: 'approve' | 'apply', says: string): Promise<void> => {
    try {
      const { have, need } = await send<{ readonly have: number; readonly need: number }>(`${path}/${verb}`, { digest: item.digest });
      toast(verb === 'approve' && have < need ? `${have} of ${need} approvals. Another person is needed.` : says);
    } catch (error) {
      toast(error instanceof CallError ? error.message : String(error));
    }
  };
  return (
    <Panel title={item.says} aside={<Tag tone={tones[item.state]}>{item.state === 'open' ? item.kind : item.state}</Tag>}>
      <div class="suggestion">
        <div>
          <p>{item.because}</p>
          {item.stale !== undefined && (
            <p>
              Stale reads: {share(item.stale.predicted)} predicted {(item.stale.afterMs ?? 0) === 0 ? 'right' : `${item.stale.afterMs} ms`}{' '}
              after a commit ({share(item.stale.predictedLow)} to {share(item.stale.predictedHigh)}), {share(item.stale.predictedWith)} with
              it; {item.stale.observedBy ?? 'observed in traces of the last day'}:{' '}
              {item.stale.observed === null
                ? 'no read was traced'
                : `${share(item.stale.observed)} of ${number(item.stale.reads)} reads, whenever they came`}
              .
            </p>
          )}
          <p>
            Replayed: {amount(replay.costWithout)} without, {amount(replay.costWith)} with it ({replay.unit}):{' '}
            <strong>{number(gain, 0)} % less</strong>, surely between {amount(replay.gainLow)} and {amount(replay.gainHigh)}.{' '}
            {number(replay.moves)} {replay.moves === 1 ? 'move' : 'moves'}.
          </p>
          {item.outcome === null ? null : <p role="status">{item.outcome}</p>}
          <p class="muted">
            {action.target === undefined ? 'To be done by hand.' : `Carried out on ${action.target}.`} Back out: {item.rollback}
          </p>
          {action.commands.length === 0 ? null : <Copy text={action.commands.join('\n')} />}
          <p class="actions-buttons">
            {item.state === 'open' && mayApprove(me, item.domain) ? (
              <button type="button" class="primary" onClick={() => void act('approve', 'Approved.')}>
                Approve this {item.kind}
              </button>
            ) : null}
            {item.state === 'approved' && action.target !== undefined && mayOperate(me, item.domain) ? (
              <button type="button" class="primary" onClick={() => void act('apply', `Being carried out on ${action.target ?? ''}.`)}>
                Carry it out on {action.target}
              </button>
            ) : null}
            {(item.state === 'open' || item.state === 'approved') && mayApprove(me, item.domain) ? (
              <button type="button" onClick={() => setAsking('reject')}>
                Reject…
              </button>
            ) : null}
            {(item.state === 'applying' || item.state === 'applied' || (item.state === 'failed' && action.target !== undefined)) &&
            mayOperate(me, item.domain) ? (
              <button type="button" onClick={() => setAsking('undo')}>
                {item.state === 'applying' ? 'Stop and take back…' : 'Take back…'}
              </button>
            ) : null}
          </p>
        </div>
        <div>
          <TwoLines
            label={`Cost with and without it over the recorded history, ${replay.unit}`}
            a={{ name: 'without', values: replay.curveWithout }}
            b={{ name: 'with', values: replay.curveWith }}
          />
          {item.forecast === undefined ? null : (
            <LineBand
              history={[]}
              band={{ low: item.forecast.low, middle: item.forecast.middle, high: item.forecast.high }}
              label={`What is to come; it hurts above ${number(item.forecast.limit, 1)}`}
              unit={`operations/s to come; it hurts above ${number(item.forecast.limit, 0)}`}
            />
          )}
        </div>
      </div>
      {asking === null ? null : (
        <ReasonDialog
          title={asking === 'reject' ? 'Reject this suggestion?' : 'Take it back?'}
          verb={asking === 'reject' ? 'Reject' : 'Take back'}
          says={item.says}
          path={`${path}/${asking}`}
          onClose={() => setAsking(null)}
          onDone={() => setAsking(null)}
        />
      )}
    </Panel>
  );
}
