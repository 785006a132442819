/** Domains x replicas: what is wrong now, how fresh that is, and the three things that deserve attention. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { ConsistencyDomain } from '../../domain/consistency-domain.ts';
import type { DomainState } from '../../io/store/domain-state.ts';
import type { ProposalSummary } from '../../io/store/proposals.ts';
import type { StoredRepair } from '../../io/store/repairs.ts';
import type { DebtReport } from '../../report/consistency-debt.ts';
import type { CollectionState, ReplicaState } from '../../io/store/scans.ts';
import { CallError, mayOperate, type Me, send } from './api.ts';
import { Bars } from './chart.tsx';
import { toast } from './decide.tsx';
import { Empty, ExporterVariables, FirstReplica } from './empty.tsx';
import { useNow, useResource } from './live.ts';
import { Ago, Panel, Said, Tag, Waiting } from './parts.tsx';
import { Link } from './router.tsx';
import { ago, count, number, span } from './words.ts';

export interface OverviewData {
  readonly nowMs: number;
  readonly domains: readonly (ConsistencyDomain & { readonly state: DomainState | null })[];
  readonly collections: readonly {
    readonly name: string;
    readonly domain: string;
    readonly authority: string | null;
    readonly state: CollectionState | null;
    readonly isLowerBound: boolean;
    readonly replicas: readonly {
      readonly id: string;
      readonly region: string;
      readonly role: string;
      readonly engine: string;
      readonly diverged: number;
      readonly state: ReplicaState | null;
    }[];
  }[];
  readonly proposals: readonly { readonly domain: string; readonly state: string; readonly count: number }[];
  readonly repairs: readonly {
    readonly domain: string;
    readonly state: string;
    readonly automatic: boolean;
    readonly count: number;
    readonly rows: number;
  }[];
  readonly recentRepairs: readonly StoredRepair[];
  readonly waiting: readonly ProposalSummary[];
  readonly counters: readonly { readonly name: string; readonly labels: string; readonly value: number }[];
}

export function OverviewPage({ overview, me }: { readonly overview: OverviewData | undefined; readonly me: Me }): JSX.Element {
  const nowMs = useNow();
  if (overview === undefined) return <Waiting what="the overview" />;
  if (overview.collections.length === 0) {
    return (
      <Empty title="No replicas yet">
        <p>Name two stores that should hold the same rows, and Homeostat compares them from then on:</p>
        <FirstReplica />
        <p>Traces alone are useful too. Point any OpenTelemetry exporter here:</p>
        <ExporterVariables />
        <p>Or watch it work on real databases first:</p>
        <pre>npm run demo</pre>
      </Empty>
    );
  }
  const columns = [...new Set(overview.collections.flatMap((collection) => collection.replicas.map((replica) => replica.id)))];
  const attention = attentionOf(overview, nowMs);
  const diverged = overview.collections.reduce(
    (sum, collection) => sum + collection.replicas.reduce((rows, replica) => rows + replica.diverged, 0),
    0,
  );
  const waiting = overview.proposals.filter((entry) => entry.state === 'waiting').reduce((sum, entry) => sum + entry.count, 0);
  const failing = overview.collections.filter((collection) => (collection.state?.error ?? null) !== null);
  const sealed = overview.repairs.filter((entry) => entry.state === 'sealed');
  return (
    <div class="overview">
      <header class="overview-head">
        <h1>
          {diverged === 0
            ? failing.length > 0
              ? `${count(failing.length, 'collection')} could not be compared.`
              : overview.collections.every((collection) => collection.state?.lastScanEndedMs)
                ? 'Replicas agree.'
                : 'Replicas are being compared for the first time.'
            : `${count(diverged, 'row')} ${diverged === 1 ? 'is' : 'are'} diverged.`}{' '}
          {waiting === 0 ? (
            'Nothing waits for a person.'
          ) : (
            <Link href="/queue">
              {count(waiting, 'proposal')} {waiting === 1 ? 'waits' : 'wait'} for people.
            </Link>
          )}
        </h1>
        <p class="muted">
          {count(
            sealed.reduce((sum, entry) => sum + entry.count, 0),
            'repair',
          )}{' '}
          verified so far, {number(sealed.filter((entry) => entry.automatic).reduce((sum, entry) => sum + entry.count, 0))} of them without
          anyone being asked.
        </p>
      </header>
      {attention.length === 0 ? null : (
        <ol class="attention" aria-label="What deserves attention">
          {attention.map((item) => (
            <li key={item.says} class={`attention-${item.tone}`}>
              <Link href={item.href}>{item.says}</Link>
            </li>
          ))}
        </ol>
      )}
      <Panel title="Domains and replicas" aside={<span class="muted">rows that are wrong now</span>}>
        <div class="diff-scroll">
          <table class="matrix">
            <thead>
              <tr>
                <th scope="col">domain</th>
                <th scope="col">collection</th>
                {columns.map((column) => (
                  <th scope="col" key={column}>
                    {column}
                  </th>
                ))}
                <th scope="col">compared</th>
                <th scope="col">repair</th>
                <th scope="col">
                  <span class="sr-only">actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {overview.collections.map((collection) => {
                const domain = overview.domains.find((candidate) => candidate.name === collection.domain);
                return (
                  <tr key={collection.name}>
                    <th scope="row">
                      {collection.domain} <span class="muted">{domain?.consistency}</span>
                    </th>
                    <td>{collection.name}</td>
                    {columns.map((column) => (
                      <MatrixCell
                        key={column}
                        collection={collection}
                        replica={collection.replicas.find((replica) => replica.id === column)}
                      />
                    ))}
                    <td class="muted">
                      <Compared state={collection.state} nowMs={nowMs} />
                    </td>
                    <td>{domain === undefined ? null : <DomainTag domain={domain} />}</td>
                    <td>{mayOperate(me, collection.domain) ? <ScanButton name={collection.name} /> : null}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      </Panel>
      <div class="case-grid">
        <Panel title="Repairs" aside={<Link href="/queue?state=done">all</Link>}>
          <RepairHistory repairs={overview.recentRepairs} nowMs={nowMs} />
        </Panel>
        <Panel title="Debt" aside={<Link href="/debt">balance sheet</Link>}>
          <DebtLine />
        </Panel>
        <Panel title="Last repairs">
          <ul class="last-repairs">
            {overview.recentRepairs.slice(0, 7).map((repair) => (
              <li key={repair.id}>
                <Link href={`/proposals/${repair.proposalId}`}>{repair.id}</Link>
                <span>
                  {repair.collection}, {count(repair.rows, 'row')}
                </span>
                <Tag tone={repair.state === 'sealed' ? 'verified' : repair.state === 'failed' ? 'wrong' : 'neutral'}>
                  {repair.state === 'sealed' ? 'verified' : repair.state === 'compensated' ? 'undone' : repair.state}
                </Tag>
                <span class="muted">
                  <Ago ms={repair.updatedAtMs} nowMs={nowMs} />
                </span>
              </li>
            ))}
            {overview.recentRepairs.length === 0 ? <li class="muted">None yet.</li> : null}
          </ul>
        </Panel>
      </div>
    </div>
  );
}

function MatrixCell({
  collection,
  replica,
}: {
  readonly collection: OverviewData['collections'][number];
  readonly replica: OverviewData['collections'][number]['replicas'][number] | undefined;
}): JSX.Element {
  if (replica === undefined) return <td class="muted">–</td>;
  const isUp = replica.state?.isUp ?? true;
  const title = `${replica.engine}, ${replica.role}, region ${replica.region}${replica.state === null ? '' : `: ${replica.state.says}`}`;
  if (!isUp)
    return (
      <td class="cell-down" title={title}>
        down
      </td>
    );
  if (replica.diverged > 0) {
    return (
      <td class="cell-diverged num" title={title}>
        <Link href={`/queue?collection=${collection.name}`}>
          {number(replica.diverged)}
          {collection.isLowerBound ? '+' : ''}
        </Link>
      </td>
    );
  }
  if ((collection.state?.error ?? null) !== null)
    return (
      <td class="cell-down" title={collection.state?.error ?? ''}>
        ?
      </td>
    );
  const isVerified = collection.state?.lastScanEqual === true;
  return (
    <td class={`num ${isVerified ? 'cell-equal' : 'muted'}`} title={title}>
      {(collection.state?.lastScanEndedMs ?? null) === null ? '·' : '0'}
      {replica.id === collection.authority ? (
        <span class="authority" title="authority: right where replicas disagree">
          ★
        </span>
      ) : null}
    </td>
  );
}

function DomainTag({ domain }: { readonly domain: OverviewData['domains'][number] }): JSX.Element {
  if (domain.state?.frozen === true)
    return (
      <Tag tone="waiting" title={domain.state.frozenReason ?? ''}>
        frozen
      </Tag>
    );
  if (domain.state?.breaker === 'open')
    return (
      <Tag tone="wrong" title={domain.state.breakerReason ?? ''}>
        breaker open
      </Tag>
    );
  return (
    <span class="muted">
      {domain.repair.mode === 'review' ? `${count(domain.repair.approvals, 'person', 'people')}` : domain.repair.mode}
    </span>
  );
}

function ScanButton({ name }: { readonly name: string }): JSX.Element {
  const [isAsked, setAsked] = useState(false);
  const scan = async (): Promise<void> => {
    setAsked(true);
    try {
      await send(`/api/v1/collections/${encodeURIComponent(name)}/scan`, {});
      toast(`${name} is compared next.`);
    } catch (error) {
      toast(error instanceof CallError ? error.message : String(error));
    }
    setAsked(false);
  };
  return (
    <button type="button" class="small" disabled={isAsked} onClick={() => void scan()}>
      Compare now
    </button>
  );
}

/** When it was last compared; how far a comparison in chunks has come, while it runs or where it was cut short. */
function Compared({ state, nowMs }: { readonly state: CollectionState | null; readonly nowMs: number }): JSX.Element {
  const progress = state?.progress ?? null;
  const words = comparedWords(state, nowMs);
  if (state === null || progress === null || progress.rowsOf === 0) return <>{words}</>;
  const share = Math.min(1, progress.rowsDone / progress.rowsOf);
  const percent = `${Math.floor(share * 100)} %`;
  const differing = progress.differing === 0 ? 'none differing so far' : `${number(progress.differing)} differing so far`;
  return (
    <div class="scan-progress" title={`${number(progress.rowsDone)} of about ${number(progress.rowsOf)} rows, ${differing}`}>
      <progress value={share} aria-label={`Comparison, ${percent} done`} />
      <span>{isRunning(state) ? `${percent}, ${differing}` : `${words}; goes on at ${percent}`}</span>
    </div>
  );
}

function isRunning(state: CollectionState): boolean {
  return state.error === null && (state.lastScanStartedMs ?? 0) > (state.lastScanEndedMs ?? 0);
}

function comparedWords(state: CollectionState | null, nowMs: number): string {
  if (state === null || state.lastScanStartedMs === null) return 'not yet';
  if (state.error !== null) return 'could not be compared';
  if (state.lastScanEndedMs === null) return `running for ${span(nowMs - state.lastScanStartedMs)}`;
  return ago(state.lastScanEndedMs, nowMs);
}

const dayMs = 86_400_000;
const hourMs = 3_600_000;

function RepairHistory({ repairs, nowMs }: { readonly repairs: readonly StoredRepair[]; readonly nowMs: number }): JSX.Element {
  const ended = repairs.filter((repair) => repair.state === 'sealed' || repair.state === 'compensated');
  if (ended.length === 0) return <p class="muted">No repair yet. The first one appears here, with the time that it took to converge.</p>;
  const oldest = Math.min(...ended.map((repair) => repair.updatedAtMs));
  const isYoung = nowMs - oldest < dayMs;
  const step = isYoung ? hourMs : dayMs;
  const bars = isYoung ? 24 : 14;
  const last = Math.floor(nowMs / step);
  const sealed = Array.from(
    { length: bars },
    (_, index) =>
      ended.filter((repair) => repair.state === 'sealed' && Math.floor(repair.updatedAtMs / step) === last - bars + 1 + index).length,
  );
  const undone = Array.from(
    { length: bars },
    (_, index) =>
      ended.filter((repair) => repair.state === 'compensated' && Math.floor(repair.updatedAtMs / step) === last - bars + 1 + index).length,
  );
  const times = ended
    .filter((repair) => repair.state === 'sealed')
    .map((repair) => repair.updatedAtMs - repair.createdAtMs)
    .toSorted((a, b) => a - b);
  const median = times[Math.floor(times.length / 2)];
  return (
    <>
      <p>
        {median === undefined ? (
          ''
        ) : (
          <>
            From approval to verified: half within <strong>{span(median)}</strong>, 95 % within{' '}
            {span(times[Math.min(times.length - 1, Math.floor(times.length * 0.95))] ?? 0)}.
          </>
        )}
      </p>
      <Bars
        label={`Repairs ${isYoung ? 'an hour' : 'a day'}: verified and undone`}
        series={[
          { name: 'verified', tone: 'verified', values: sealed },
          { name: 'undone', tone: 'waiting', values: undone },
        ]}
        from={isYoung ? '24 h ago' : '14 d ago'}
        to="now"
      />
    </>
  );
}

/** What unsafe code paths have cost, and the fix that pays back most: a reason to open the balance sheet. */
function DebtLine(): JSX.Element {
  const { data } = useResource<DebtReport>('/api/v1/debt', ['case', 'anomaly']);
  if (data === undefined) return <p class="muted" />;
  const grades = (['proven', 'structural', 'risk'] as const).map((grade) => ({
    grade,
    lines: data.lines.filter((line) => line.grade === grade).length,
  }));
  return (
    <>
      <p>
        <strong>{number(data.total.points)} points</strong> in {data.windowDays} days: {count(data.total.incidents, 'case')},{' '}
        {count(Math.round(data.total.minutesDiverged), 'minute')} diverged.{' '}
        {grades
          .filter(({ lines }) => lines > 0)
          .map(({ grade, lines }, index) => (
            <span key={grade}>
              {index === 0 ? 'Places in code: ' : ', '}
              <Link href={`/anomalies?grade=${grade}`}>
                {number(lines)} {grade}
              </Link>
            </span>
          ))}
      </p>
      <ol class="repayments">
        {data.repayments.slice(0, 3).map((repayment) => (
          <li key={repayment.id}>
            <Said text={repayment.says} />
          </li>
        ))}
      </ol>
    </>
  );
}

interface Attention {
  readonly says: string;
  readonly href: string;
  readonly tone: 'wrong' | 'waiting';
}

/** Worst first: what has stopped, then what cannot be seen, then what runs out of time. Three at most. */
function attentionOf(overview: OverviewData, nowMs: number): readonly Attention[] {
  const found: Attention[] = [];
  for (const domain of overview.domains) {
    if (domain.state?.breaker === 'open')
      found.push({
        says: `Automatic repair of ${domain.name} has stopped: ${domain.state.breakerReason ?? 'its breaker is open'}`,
        href: '/policies',
        tone: 'wrong',
      });
    if (domain.state?.frozen === true)
      found.push({
        says: `${domain.name} is frozen by ${domain.state.frozenBy ?? 'someone'}: ${domain.state.frozenReason ?? ''}`,
        href: '/policies',
        tone: 'waiting',
      });
  }
  for (const collection of overview.collections) {
    const error = collection.state?.error ?? null;
    if (error !== null) found.push({ says: `${collection.name} could not be compared: ${error}`, href: '/', tone: 'wrong' });
    for (const replica of collection.replicas)
      if (replica.state?.isUp === false)
        found.push({ says: `${collection.name} on ${replica.id} does not answer: ${replica.state.says}`, href: '/', tone: 'wrong' });
  }
  const urgent = overview.waiting.toSorted((a, b) => a.expiresAtMs - b.expiresAtMs).slice(0, 3);
  for (const proposal of urgent)
    found.push({
      says: `${span(Math.max(0, proposal.expiresAtMs - nowMs))} left: ${proposal.says}`,
      href: `/proposals/${proposal.id}`,
      tone: 'waiting',
    });
  return found.slice(0, 3);
}
