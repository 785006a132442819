/** What each domain promises, how far repair may go in it, and the brakes. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { mayOperate, type Me } from './api.ts';
import { ReasonDialog } from './decide.tsx';
import { Empty, FirstReplica } from './empty.tsx';
import { Panel, Tag, Waiting } from './parts.tsx';
import type { OverviewData } from './overview.tsx';
import { absolute, count, number, span } from './words.ts';

type Domain = OverviewData['domains'][number];
type Brake = { readonly domain: string; readonly verb: 'freeze' | 'unfreeze' | 'close-breaker' };

const brakeWords: Readonly<Record<Brake['verb'], readonly [title: string, verb: string, says: string]>> = {
  freeze: [
    'Freeze this domain?',
    'Freeze',
    'Every repair of it stops at once, also those that were approved. Comparing and reporting go on.',
  ],
  unfreeze: ['Let repairs go on?', 'Unfreeze', 'Approved and automatic repairs of it run again, each after its own checks.'],
  'close-breaker': [
    'Close the breaker?',
    'Close the breaker',
    'Automatic repair starts again. Do it when the cause of the failed repair is fixed.',
  ],
};

export function PoliciesPage({ overview, me }: { readonly overview: OverviewData | undefined; readonly me: Me }): JSX.Element {
  const [brake, setBrake] = useState<Brake | null>(null);
  if (overview === undefined) return <Waiting what="domains" />;
  if (overview.domains.length === 0) {
    return (
      <Empty title="No domain yet">
        <p>A domain is a class of state with one promise. Declare the first one:</p>
        <FirstReplica />
      </Empty>
    );
  }
  const words = brake === null ? undefined : brakeWords[brake.verb];
  return (
    <div class="wide">
      <div class="cards">
        {overview.domains.map((domain) => (
          <DomainCard key={domain.name} domain={domain} me={me} onBrake={(verb) => setBrake({ domain: domain.name, verb })} />
        ))}
      </div>
      <Panel title="What no policy can relax">
        <ul class="ticks">
          {[
            'A strict domain and a money column are never repaired automatically.',
            'What runs is exactly the effects whose digest was approved.',
            'A row that changed since it was read is not written: the case is proposed again.',
            "Values stay in the domain's regions.",
            'A choice of the language model alone is never automatic.',
            'An error while a rule is evaluated is a no.',
          ].map((text) => (
            <li key={text} class="tick">
              <span aria-hidden="true">✓</span> {text}
            </li>
          ))}
        </ul>
      </Panel>
      {brake === null || words === undefined ? null : (
        <ReasonDialog
          title={words[0]}
          verb={words[1]}
          says={`${brake.domain}: ${words[2]}`}
          path={`/api/v1/domains/${encodeURIComponent(brake.domain)}/${brake.verb}`}
          onClose={() => setBrake(null)}
          onDone={() => setBrake(null)}
        />
      )}
    </div>
  );
}

function DomainCard({
  domain,
  me,
  onBrake,
}: {
  readonly domain: Domain;
  readonly me: Me;
  readonly onBrake: (verb: Brake['verb']) => void;
}): JSX.Element {
  const isFrozen = domain.state?.frozen === true;
  const isOpen = domain.state?.breaker === 'open';
  const mode = {
    off: 'only reports',
    review: `asks ${count(domain.repair.approvals, 'person', 'people')}`,
    auto: `repairs by itself what the guard allows, up to ${number(domain.repair.rowsPerHour)} rows an hour`,
  }[domain.repair.mode];
  const isStrict = domain.consistency === 'strict' && domain.repair.mode === 'auto';
  return (
    <Panel
      title={domain.name}
      aside={
        <>
          <Tag>{domain.consistency}</Tag> {isFrozen ? <Tag tone="waiting">frozen</Tag> : null}
          {isOpen ? <Tag tone="wrong">breaker open</Tag> : null}
        </>
      }
    >
      <p>
        <strong>{isStrict ? 'asks people: strict domains are never automatic' : mode}</strong>
      </p>
      <dl class="facts">
        <div>
          <dt>risk</dt>
          <dd>{domain.risk}</dd>
        </div>
        <div>
          <dt>may be old by</dt>
          <dd class="num">{span(domain.stalenessMs)}</dd>
        </div>
        <div>
          <dt>values may be in</dt>
          <dd>{domain.residency.length === 0 ? 'any region' : domain.residency.join(', ')}</dd>
        </div>
        <div>
          <dt>undo for</dt>
          <dd class="num">{domain.repair.undoHours} h</dd>
        </div>
        <div>
          <dt>approval expires after</dt>
          <dd class="num">{span(domain.repair.approvalExpiryMinutes * 60_000)}</dd>
        </div>
        <div>
          <dt>language model</dt>
          <dd>{domain.llm.enabled ? (domain.llm.rawValues ? 'may choose, sees values' : 'may choose, sees no values') : 'off'}</dd>
        </div>
      </dl>
      {isFrozen ? (
        <p class="notice">
          Frozen by {domain.state?.frozenBy ?? ''}
          {typeof domain.state?.frozenAtMs === 'number' ? ` at ${absolute(domain.state.frozenAtMs)}` : ''}:{' '}
          {domain.state?.frozenReason ?? ''}
        </p>
      ) : null}
      {isOpen ? <p class="notice notice-wrong">{domain.state?.breakerReason ?? ''}</p> : null}
      {mayOperate(me, domain.name) ? (
        <p class="actions-buttons">
          <button type="button" onClick={() => onBrake(isFrozen ? 'unfreeze' : 'freeze')}>
            {isFrozen ? 'Unfreeze…' : 'Freeze…'}
          </button>
          {isOpen ? (
            <button type="button" onClick={() => onBrake('close-breaker')}>
              Close the breaker…
            </button>
          ) : null}
        </p>
      ) : null}
    </Panel>
  );
}
