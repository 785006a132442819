/** One case on one screen: the verdict in a sentence, what differs, why we believe it, what would happen, what rules say, and the buttons. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { TracedCase } from '../../runtime/trace-back.ts';
import type { Anomaly } from '../../domain/anomaly.ts';
import type { Approval } from '../../guard/approvals.ts';
import type { StoredCase } from '../../io/store/cases.ts';
import type { StoredDivergence } from '../../io/store/divergences.ts';
import type { StoredProposal } from '../../io/store/proposals.ts';
import type { StoredRepair } from '../../io/store/repairs.ts';
import type { AuditEntry } from '../../report/audit-chain.ts';
import { mayApprove, mayOperate, type Me } from './api.ts';
import { ApproveDialog, ReasonDialog, RejectDialog, SnoozeDialog } from './decide.tsx';
import { Difference } from './diff.tsx';
import { EditRows } from './edit.tsx';
import { TracePanel } from './case.tsx';
import { useNow, useResource } from './live.ts';
import { Ago, Panel, Said, Tag, type Tone, useKeys, Waiting } from './parts.tsx';
import { go, Link } from './router.tsx';
import { absolute, ago, clock, count, list, number, shortDigest, span } from './words.ts';

export interface ProposalDetail extends StoredProposal {
  readonly approvals: readonly Approval[];
  readonly case: StoredCase | null;
  readonly cause: Anomaly | null;
  readonly trace?: TracedCase | null;
  readonly repair: StoredRepair | null;
  readonly divergences: readonly StoredDivergence[];
  readonly before: { readonly total: number; readonly verified: number; readonly undone: number };
  readonly authority: string | null;
  readonly columnClasses: Readonly<Record<string, string>>;
  readonly timeline: readonly AuditEntry[];
}

/** Effects that the page reads; the count of all is shown, and the command line prints them. */
const shownRows = 1_000;

export function ProposalPage({ id, me, isEditing }: { readonly id: string; readonly me: Me; readonly isEditing: boolean }): JSX.Element {
  const { data, error, reload } = useResource<ProposalDetail>(`/api/v1/proposals/${encodeURIComponent(id)}?rows=${shownRows}`, [
    'proposal',
    'repair',
    'case',
  ]);
  if (data === undefined) return <Waiting what={`proposal ${id}`} error={error} />;
  return <ProposalScreen proposal={data} me={me} isEditing={isEditing} reload={reload} />;
}

function ProposalScreen({
  proposal,
  me,
  isEditing,
  reload,
}: {
  readonly proposal: ProposalDetail;
  readonly me: Me;
  readonly isEditing: boolean;
  readonly reload: () => void;
}): JSX.Element {
  const nowMs = useNow();
  const [dialog, setDialog] = useState<'approve' | 'reject' | 'snooze' | 'undo' | null>(null);
  const isWaiting = proposal.state === 'waiting';
  const mine = isWaiting ? whyNot(proposal, me) : 'it no longer waits';
  const canReject = isWaiting && mayApprove(me, proposal.domain);
  const targets = [...new Set(proposal.effects.map((effect) => effect.replica))].toSorted();
  const have = proposal.approvals.filter((approval) => approval.is === 'approve' && approval.digest === proposal.digest).length;
  const need = Math.max(1, proposal.approvalsNeeded);
  const approveWords = have + 1 < need ? `Approve, as ${have + 1} of ${need}` : `Approve and apply to ${list(targets)}`;
  const decided = { ...proposal, approveWords };
  const canUndo = proposal.repair?.state === 'sealed' && proposal.repair.undoUntilMs > nowMs && mayOperate(me, proposal.domain);
  const edit = (): void => go(`/proposals/${proposal.id}?edit=1`);
  const closed = (): void => setDialog(null);
  const done = (): void => {
    setDialog(null);
    reload();
  };
  useKeys({
    a: () => mine === null && setDialog('approve'),
    r: () => canReject && setDialog('reject'),
    s: () => canReject && setDialog('snooze'),
    e: () => canReject && edit(),
    u: () => canUndo && setDialog('undo'),
    Escape: () => go('/queue'),
  });

  return (
    <article class="case">
      <header class="case-head">
        <p class="crumbs">
          <Link href="/queue">Queue</Link> / <Link href={`/queue?domain=${proposal.domain}`}>{proposal.domain}</Link> /{' '}
          <strong>{proposal.collection}</strong>
          <span class="dot">case {proposal.caseId}</span>
          <span class="dot">
            <StateTag proposal={proposal} />
          </span>
          <span class="dot" title={absolute(proposal.createdAtMs)}>
            rows read {ago(proposal.createdAtMs, nowMs)}
          </span>
          {isWaiting ? (
            <span class="dot">{proposal.expiresAtMs > nowMs ? `${span(proposal.expiresAtMs - nowMs)} left` : 'expiring'}</span>
          ) : null}
        </p>
        <h1>{proposal.says}</h1>
        <p class="case-facts">
          {count(proposal.rows, 'row')} on {list(targets)} ·{' '}
          {proposal.simulation.inverseRestores ? 'can be undone' : <span class="wrong">cannot be undone</span>}
          {proposal.repair === null ? '' : `, until ${absolute(proposal.repair.undoUntilMs)}`} · confidence {proposal.confidence.toFixed(2)}{' '}
          · strategy {proposal.strategy}
        </p>
        {proposal.state === 'superseded' && proposal.supersededBy !== null ? (
          <p class="notice">
            Edited: <Link href={`/proposals/${proposal.supersededBy}`}>{proposal.supersededBy}</Link> took its place.
          </p>
        ) : null}
        {proposal.decidedReason !== null && proposal.decidedReason !== '' && !isWaiting ? (
          <p class="notice">{proposal.decidedReason}</p>
        ) : null}
        {proposal.case !== null && proposal.case.returns > 0 ? (
          <p class="notice notice-wrong">
            It has come back {proposal.case.returns === 1 ? 'once' : `${proposal.case.returns} times`} after a verified repair: the cause is
            not fixed.
          </p>
        ) : null}
      </header>

      {isEditing && isWaiting ? <EditRows proposal={proposal} onClose={() => go(`/proposals/${proposal.id}`)} /> : null}

      <div class="case-grid">
        <div class="case-column">
          <Panel title="Difference" class="panel-diff" aside={<span class="muted">{list(targets)} would change</span>}>
            <Difference proposal={proposal} />
          </Panel>
          <TracePanel trace={proposal.trace} />
          {proposal.cause === null ? null : (
            <Panel
              title="The cause, and what would fix it"
              aside={<Link href={`/anomalies/${encodeURIComponent(proposal.cause.fingerprint)}`}>finding</Link>}
            >
              <p>
                <strong>
                  <Said text={proposal.cause.title} />
                </strong>{' '}
                <Said text={proposal.cause.explanation} />
              </p>
              <p>
                <strong>Fix: </strong>
                <Said text={proposal.cause.fix} />
              </p>
            </Panel>
          )}
          <Panel title="Alternatives">
            <Alternatives proposal={proposal} />
          </Panel>
          <details class="panel timeline" open={!isWaiting}>
            <summary>
              Audit timeline <span class="muted">{count(proposal.timeline.length, 'entry', 'entries')}</span>
            </summary>
            <ol>
              {proposal.timeline.map((entry) => (
                <li key={entry.seq}>
                  <time title={absolute(Date.parse(entry.at))}>{clock(Date.parse(entry.at))}</time>
                  <span class="actor">{entry.actor}</span>
                  <span>{entry.action}</span>
                  <span class="muted">{entry.subject}</span>
                  <Link href={`/audit?seq=${entry.seq}`}>
                    <code>{entry.hash.slice(0, 10)}</code>
                  </Link>
                </li>
              ))}
            </ol>
          </details>
        </div>
        <div class="case-column">
          <Panel title="Why we believe it" class="panel-why">
            <EvidenceList proposal={proposal} />
          </Panel>
          <Panel title="Simulated">
            <ul class="ticks">
              <Tick holds={proposal.simulation.digestsEqual}>range digests equal afterwards</Tick>
              {proposal.simulation.invariants.map((invariant) => (
                <Tick key={invariant.text} holds={invariant.holds}>
                  {invariant.text}
                </Tick>
              ))}
              <Tick holds={proposal.simulation.inverseRestores}>undo gives back what was there</Tick>
              <Tick holds={proposal.simulation.rowsTouched === proposal.rows}>
                {count(proposal.simulation.rowsTouched, 'row')} touched, no others
              </Tick>
            </ul>
          </Panel>
          <Panel
            title="Rules"
            aside={
              <Tag tone={proposal.verdict.is === 'deny' ? 'wrong' : proposal.verdict.is === 'auto' ? 'neutral' : 'waiting'}>
                {proposal.verdict.is}
              </Tag>
            }
          >
            {proposal.verdict.rules.length === 0 ? <p class="muted">No rule stood against it.</p> : null}
            <ul class="rules">
              {proposal.verdict.rules.map((rule) => (
                <li key={rule.id}>
                  <code>{rule.id}</code> {rule.reason}{' '}
                  <span class="muted">
                    {rule.nearestChange === null ? 'No change allows it.' : `Nearest change: ${rule.nearestChange}.`}
                  </span>
                </li>
              ))}
            </ul>
          </Panel>
        </div>
      </div>

      <footer class="actions">
        <div class="actions-buttons">
          {isWaiting ? (
            <>
              <button type="button" class="primary" disabled={mine !== null} title={mine ?? undefined} onClick={() => setDialog('approve')}>
                <kbd>A</kbd> {approveWords}
              </button>
              <button type="button" disabled={!canReject} onClick={() => setDialog('reject')}>
                <kbd>R</kbd> Reject…
              </button>
              <button type="button" disabled={!canReject} onClick={edit}>
                <kbd>E</kbd> Edit
              </button>
              <button type="button" disabled={!canReject} onClick={() => setDialog('snooze')}>
                <kbd>S</kbd> Snooze
              </button>
              {mine === null ? null : <span class="muted why-not">You cannot approve: {mine}</span>}
            </>
          ) : proposal.repair === null ? (
            <span class="muted">Nothing to decide.</span>
          ) : (
            <>
              <RepairLine repair={proposal.repair} nowMs={nowMs} />
              {canUndo ? (
                <button type="button" onClick={() => setDialog('undo')}>
                  <kbd>U</kbd> Undo…
                </button>
              ) : null}
            </>
          )}
        </div>
        <span class="digest" title={proposal.digest}>
          effect digest <code>{shortDigest(proposal.digest)}</code>
        </span>
      </footer>

      {dialog === 'approve' ? <ApproveDialog proposals={[decided]} me={me} onClose={closed} onDone={done} /> : null}
      {dialog === 'reject' ? <RejectDialog proposals={[decided]} onClose={closed} onDone={done} /> : null}
      {dialog === 'snooze' ? <SnoozeDialog proposal={decided} onClose={closed} onDone={() => go('/queue')} /> : null}
      {dialog === 'undo' && proposal.repair !== null ? (
        <ReasonDialog
          title="Undo this repair?"
          verb={`Undo on ${list(targets)}`}
          says={`${count(proposal.repair.rows, 'row')} go back to what they were. Rows that changed since are left alone and reported.`}
          path={`/api/v1/repairs/${proposal.repair.id}/undo`}
          onClose={closed}
          onDone={done}
        />
      ) : null}
    </article>
  );
}

/** Why this person cannot approve, in words; null where they can. The server decides; this only saves a click. */
function whyNot(proposal: ProposalDetail, me: Me): string | null {
  if (!mayApprove(me, proposal.domain)) return `your role (${me.role}) does not cover ${proposal.domain}.`;
  if (proposal.author === me.name) return 'you wrote these effects; someone else must approve them.';
  if (proposal.approvals.some((approval) => approval.by === me.name && approval.is === 'approve' && approval.digest === proposal.digest))
    return 'you have approved already; it waits for others.';
  return null;
}

export function StateTag({ proposal }: { readonly proposal: ProposalDetail }): JSX.Element {
  const have = proposal.approvals.filter((approval) => approval.is === 'approve' && approval.digest === proposal.digest).length;
  if (proposal.state === 'waiting') {
    const need = Math.max(1, proposal.approvalsNeeded);
    return <Tag tone="waiting">waiting for {need === 1 ? 'one person' : `${need} people (${have} of ${need})`}</Tag>;
  }
  const state = proposal.repair?.state;
  if (state === 'sealed') return <Tag tone="verified">verified</Tag>;
  if (state === 'compensated') return <Tag>undone</Tag>;
  if (state === 'failed') return <Tag tone="wrong">failed</Tag>;
  if (state !== undefined && state !== 'stale') return <Tag tone="accent">{state}</Tag>;
  return <Tag>{proposal.state}</Tag>;
}

function RepairLine({ repair, nowMs }: { readonly repair: StoredRepair; readonly nowMs: number }): JSX.Element {
  const tones: Readonly<Record<StoredRepair['state'], Tone>> = {
    planned: 'accent',
    applying: 'accent',
    verifying: 'accent',
    sealed: 'verified',
    stale: 'neutral',
    undoing: 'waiting',
    compensated: 'neutral',
    failed: 'wrong',
  };
  const words: Readonly<Record<StoredRepair['state'], string>> = {
    planned: 'about to be applied',
    applying: 'being applied',
    verifying: 'applied, being verified',
    sealed: 'verified',
    stale: 'not applied: a row changed since it was read',
    undoing: 'being undone',
    compensated: 'undone',
    failed: 'failed',
  };
  return (
    <span>
      <Tag tone={tones[repair.state]}>{words[repair.state]}</Tag> {repair.id}, <Ago ms={repair.updatedAtMs} nowMs={nowMs} />, approved by{' '}
      {repair.automatic ? 'policy' : list(repair.approvedBy)}
      {repair.lastError === null ? '' : ` · ${repair.lastError}`}
    </span>
  );
}

interface Reason {
  readonly id: string;
  readonly atMs: number | undefined;
  readonly who: string;
  readonly says: string;
  readonly title: string;
  readonly isCited: boolean;
}

function EvidenceList({ proposal }: { readonly proposal: ProposalDetail }): JSX.Element {
  const cited = proposal.choice.by === 'llm' ? new Set(proposal.choice.cited) : new Set<string>();
  const reasons: readonly Reason[] = [
    ...proposal.evidence.map((evidence) => ({
      id: evidence.id,
      atMs: evidence.atMs,
      who: evidence.replica ?? evidence.kind,
      says: evidence.says,
      title: evidence.span === undefined ? evidence.kind : `trace ${evidence.span.traceId}`,
      isCited: cited.has(evidence.id),
    })),
    ...confirmation(proposal),
  ];
  return (
    <ol class="evidence">
      {reasons
        .toSorted((a, b) => (a.atMs ?? 0) - (b.atMs ?? 0))
        .map((reason) => (
          <li key={reason.id}>
            <time class="num" title={reason.atMs === undefined ? reason.title : absolute(reason.atMs)}>
              {reason.atMs === undefined ? '' : clock(reason.atMs)}
            </time>
            <span>
              <Tag title={reason.title}>{reason.who}</Tag> {reason.says}
              {reason.isCited ? <span class="muted"> Cited by the model.</span> : null}
            </span>
          </li>
        ))}
      <li>
        <span class="num" />
        <span>
          <Tag>history</Tag>{' '}
          {proposal.before.total === 0
            ? 'Nothing like this was repaired here before.'
            : `Like this before: ${number(proposal.before.total)}, ${number(proposal.before.verified)} verified, ${number(proposal.before.undone)} undone.`}
        </span>
      </li>
    </ol>
  );
}

/** That the difference is not lag: every replica had passed the place where it was seen, and it was still there. */
function confirmation(proposal: ProposalDetail): readonly Reason[] {
  const confirmed = proposal.divergences.filter((divergence) => divergence.confirmedAtMs !== null);
  const [first] = confirmed;
  if (first === undefined || first.confirmedAtMs === null) return [];
  const places = Object.entries(first.seenAt).map(([replica, position]) => `${replica} ${position.is} ${position.text}`);
  const later = first.confirmedAtMs - first.firstSeenMs;
  return [
    {
      id: 'confirmed',
      atMs: first.confirmedAtMs,
      who: 'confirmed',
      says: `Still different ${span(later)} after it was first seen, when every replica had passed that position: not lag.`,
      title: places.join(', '),
      isCited: false,
    },
  ];
}

function Alternatives({ proposal }: { readonly proposal: ProposalDetail }): JSX.Element {
  const { choice } = proposal;
  return (
    <>
      <ul class="alternatives">
        <li class="is-chosen">
          <strong>{proposal.strategy}</strong> <span class="num">{proposal.confidence.toFixed(2)}</span> <span class="muted">chosen</span>
        </li>
        {proposal.alternatives.map((alternative) => (
          <li key={`${alternative.strategy} ${alternative.digest}`}>
            {alternative.strategy} <span class="num">{alternative.margin.toFixed(2)}</span>{' '}
            <span class="muted">
              {alternative.digest === proposal.digest ? 'same effects' : `other effects, ${count(alternative.rows, 'row')}`}
            </span>
            <p class="muted">{alternative.because}</p>
          </li>
        ))}
      </ul>
      <p class="muted">
        {choice.by === 'heuristic'
          ? 'Chosen by the heuristic.'
          : choice.by === 'person'
            ? `Edited by ${choice.name}.`
            : `${choice.model} chose among them; it ${choice.agrees ? 'agrees' : 'disagrees'} with the heuristic. Root cause: ${choice.rootCause}.`}
      </p>
    </>
  );
}

function Tick({ holds, children }: { readonly holds: boolean; readonly children: preact.ComponentChildren }): JSX.Element {
  return (
    <li class={holds ? 'tick' : 'tick tick-no'}>
      <span aria-hidden="true">{holds ? '✓' : '✗'}</span> {children}
      <span class="sr-only">{holds ? ': holds' : ': does not hold'}</span>
    </li>
  );
}
