/** The dialogs in which people decide. Each names what it will do; each sends the digest that was on the screen. */
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';
import { CallError, type Me, send } from './api.ts';
import { Dialog } from './parts.tsx';
import { count, number, shortDigest } from './words.ts';

export interface DecidedOn {
  readonly id: string;
  readonly digest: string;
  readonly says: string;
  readonly rows: number;
  readonly collection: string;
  readonly approvalsNeeded: number;
  readonly author: string;
  /** What approving does, where it is known who has approved before. */
  readonly approveWords?: string;
}

interface Sent {
  readonly have?: number;
  readonly need?: number;
  readonly repairId?: string | null;
}

export function ApproveDialog({
  proposals,
  me,
  onClose,
  onDone,
}: {
  readonly proposals: readonly DecidedOn[];
  readonly me: Me;
  readonly onClose: () => void;
  readonly onDone: () => void;
}): JSX.Element {
  const [comment, setComment] = useState('');
  const [first] = proposals;
  const rows = proposals.reduce((sum, proposal) => sum + proposal.rows, 0);
  const words = first?.approveWords;
  const isOne = proposals.length === 1;
  const title = isOne ? 'Approve these effects?' : `Approve ${number(proposals.length)} proposals?`;
  return (
    <Sending
      title={title}
      verb={isOne ? (words ?? 'Approve') : `Approve ${number(proposals.length)}`}
      proposals={proposals}
      send={(proposal) =>
        send<Sent>(`/api/v1/proposals/${proposal.id}/approve`, {
          digest: proposal.digest,
          ...(comment.trim() === '' ? {} : { comment: comment.trim() }),
        })
      }
      after={(sent) =>
        (sent?.repairId ?? null) === null && sent?.need !== undefined
          ? `${sent.have} of ${sent.need} people have approved.`
          : 'Approved. It is being applied.'
      }
      onClose={onClose}
      onDone={onDone}
    >
      {isOne && first !== undefined ? <p class="dialog-says">{first.says}</p> : <BatchSum proposals={proposals} />}
      <p class="muted">
        You, <strong>{me.name}</strong>, approve exactly{' '}
        {isOne ? (
          <>
            the effects <code title={first?.digest}>{shortDigest(first?.digest ?? '')}</code>
          </>
        ) : (
          'the effects shown'
        )}
        : {count(rows, 'row')}.
        {isOne && first !== undefined && first.approvalsNeeded > 1 ? ` ${first.approvalsNeeded} people are needed.` : ''} If a row changed
        since it was read, nothing is applied.
      </p>
      <label class="field">
        Comment, kept in the audit (optional)
        <input type="text" value={comment} maxLength={2000} onInput={(event) => setComment(event.currentTarget.value)} />
      </label>
    </Sending>
  );
}

const reasons = ['The other side is right', 'Still being written', 'The cause must be fixed first', 'Not ours to repair'];

export function RejectDialog({
  proposals,
  onClose,
  onDone,
}: {
  readonly proposals: readonly DecidedOn[];
  readonly onClose: () => void;
  readonly onDone: () => void;
}): JSX.Element {
  const [reason, setReason] = useState('');
  return (
    <Sending
      title={proposals.length === 1 ? 'Reject this proposal?' : `Reject ${number(proposals.length)} proposals?`}
      verb="Reject"
      isReady={reason.trim() !== ''}
      proposals={proposals}
      send={(proposal) => send<Sent>(`/api/v1/proposals/${proposal.id}/reject`, { digest: proposal.digest, reason: reason.trim() })}
      after={() => 'Rejected.'}
      onClose={onClose}
      onDone={onDone}
    >
      {proposals.length === 1 ? <p class="dialog-says">{proposals[0]?.says}</p> : <BatchSum proposals={proposals} />}
      <label class="field">
        Why? It is kept, and teaches which proposals to make.
        <textarea rows={2} value={reason} maxLength={2000} required onInput={(event) => setReason(event.currentTarget.value)} />
      </label>
      <p class="chips">
        {reasons.map((text) => (
          <button type="button" class="chip" key={text} onClick={() => setReason(text)}>
            {text}
          </button>
        ))}
      </p>
    </Sending>
  );
}

export function SnoozeDialog({
  proposal,
  onClose,
  onDone,
}: {
  readonly proposal: DecidedOn;
  readonly onClose: () => void;
  readonly onDone: () => void;
}): JSX.Element {
  const [minutes, setMinutes] = useState(60);
  return (
    <Sending
      title="Snooze?"
      verb="Snooze"
      proposals={[proposal]}
      send={() => send<Sent>(`/api/v1/proposals/${proposal.id}/snooze`, { digest: proposal.digest, minutes })}
      after={() => 'Snoozed.'}
      onClose={onClose}
      onDone={onDone}
    >
      <p class="muted">It leaves the queue for a while. Its expiry stays: then it is rejected, as if nobody had looked.</p>
      <p class="chips" role="radiogroup" aria-label="For how long">
        {[15, 60, 240, 720].map((option) => (
          <button
            type="button"
            role="radio"
            aria-checked={minutes === option}
            class={`chip${minutes === option ? ' is-on' : ''}`}
            key={option}
            onClick={() => setMinutes(option)}
          >
            {option < 60 ? `${option} min` : `${option / 60} h`}
          </button>
        ))}
      </p>
    </Sending>
  );
}

export function ReasonDialog({
  title,
  verb,
  says,
  path,
  onClose,
  onDone,
}: {
  readonly title: string;
  readonly verb: string;
  readonly says: string;
  readonly path: string;
  readonly onClose: () => void;
  readonly onDone: () => void;
}): JSX.Element {
  const [reason, setReason] = useState('');
  return (
    <Sending
      title={title}
      verb={verb}
      isReady={reason.trim() !== ''}
      proposals={[{ id: '', digest: '', says: '', rows: 0, collection: '', approvalsNeeded: 0, author: '' }]}
      send={() => send<Sent>(path, { reason: reason.trim() })}
      after={() => 'Done.'}
      onClose={onClose}
      onDone={onDone}
    >
      <p>{says}</p>
      <label class="field">
        Why? It is kept in the audit.
        <textarea rows={2} value={reason} maxLength={2000} required onInput={(event) => setReason(event.currentTarget.value)} />
      </label>
    </Sending>
  );
}

function BatchSum({ proposals }: { readonly proposals: readonly DecidedOn[] }): JSX.Element {
  return (
    <ul class="batch">
      {proposals.slice(0, 6).map((proposal) => (
        <li key={proposal.id}>{proposal.says}</li>
      ))}
      {proposals.length > 6 ? <li class="muted">and {number(proposals.length - 6)} more like these</li> : null}
    </ul>
  );
}

/** Sends one by one, so that each answer belongs to its proposal; what was refused is said and stays open. */
function Sending<P extends DecidedOn>({
  title,
  verb,
  proposals,
  send: sendOne,
  after,
  isReady = true,
  onClose,
  onDone,
  children,
}: {
  readonly title: string;
  readonly verb: string;
  readonly proposals: readonly P[];
  readonly send: (proposal: P) => Promise<Sent>;
  readonly after: (sent: Sent | undefined) => string;
  readonly isReady?: boolean;
  readonly onClose: () => void;
  readonly onDone: () => void;
  readonly children: ComponentChildren;
}): JSX.Element {
  const [sending, setSending] = useState<number | null>(null);
  const [failures, setFailures] = useState<readonly string[]>([]);
  const [done, setDone] = useState<string | null>(null);
  const run = async (): Promise<void> => {
    if (!isReady || sending !== null) return;
    const failed: string[] = [];
    let last: Sent | undefined;
    for (const [index, proposal] of proposals.entries()) {
      setSending(index);
      try {
        last = await sendOne(proposal);
      } catch (error) {
        const rule = error instanceof CallError && error.rule !== undefined ? ` (rule: ${error.rule})` : '';
        failed.push(`${proposals.length > 1 ? `${proposal.id}: ` : ''}${error instanceof Error ? error.message : String(error)}${rule}`);
      }
    }
    setSending(null);
    setFailures(failed);
    if (failed.length === 0) {
      toast(after(last));
      onDone();
    } else if (failed.length < proposals.length)
      setDone(`${number(proposals.length - failed.length)} of ${number(proposals.length)} went through.`);
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run();
        }}
      >
        {children}
        {failures.length === 0 ? null : (
          <div class="problem" role="alert">
            {done === null ? <strong>Nothing was changed. </strong> : `${done} `}
            {failures.map((text) => (
              <p key={text}>{text}</p>
            ))}
          </div>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            {failures.length > 0 ? 'Close' : 'Cancel'}
          </button>
          <button type="submit" class="primary" disabled={!isReady || sending !== null} autofocus={isReady}>
            {sending === null ? verb : proposals.length > 1 ? `${number(sending + 1)} of ${number(proposals.length)}…` : 'Sending…'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

const toastMs = 4_000;

/** One sentence at the edge of the screen; it takes no focus and no place. */
export function toast(text: string): void {
  const element = document.createElement('div');
  element.className = 'toast';
  element.setAttribute('role', 'status');
  element.textContent = text;
  document.body.append(element);
  setTimeout(() => element.remove(), toastMs);
}
