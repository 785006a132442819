/** Findings from traces: what happened, how sure, and what would fix the cause. */
import type { JSX } from 'preact';
import type { LearnedFact } from '../../domain/learned-fact.ts';
import type { StoredAnomaly } from '../../io/store/anomalies.ts';
import type { Listing } from './api.ts';
import { Copy, Empty, ExporterVariables } from './empty.tsx';
import { useNow, useResource } from './live.ts';
import { Ago, Panel, Said, Tag, type Tone, Waiting } from './parts.tsx';
import { Link, usePath, withQuery } from './router.tsx';
import { ServiceGraph } from './graph.tsx';
import { count, number } from './words.ts';

const grades: readonly { readonly id: StoredAnomaly['grade']; readonly says: string; readonly tone: Tone }[] = [
  { id: 'proven', says: 'the data shows it', tone: 'wrong' },
  { id: 'structural', says: 'the code path permits it', tone: 'waiting' },
  { id: 'risk', says: 'worth a look', tone: 'neutral' },
];

export function AnomaliesPage(): JSX.Element {
  const { query } = usePath();
  const grade = query.get('grade') ?? '';
  const kind = query.get('kind') ?? '';
  const service = query.get('service') ?? '';
  const { data: structure } = useResource<{ readonly items: readonly LearnedFact[] }>('/api/v1/structure', ['anomaly']);
  const { data, error } = useResource<Listing<StoredAnomaly>>('/api/v1/anomalies?limit=1000', ['anomaly']);
  const nowMs = useNow();
  if (data === undefined) return <Waiting what="findings" error={error} />;
  if (data.items.length === 0) {
    return (
      <Empty title="No findings yet">
        <p>Findings come from the traces that your services already emit. Point an OpenTelemetry exporter here:</p>
        <ExporterVariables />
        <p>Or try the detectors on a file that the Collector wrote, without a server:</p>
        <Copy text="npx homeostat check traces.jsonl" />
      </Empty>
    );
  }
  const shown = data.items.filter(
    (item) => (grade === '' || item.grade === grade) && (kind === '' || item.kind === kind) && (service === '' || item.service === service),
  );
  const kinds = [...Map.groupBy(data.items, (item) => item.kind)].toSorted((a, b) => b[1].length - a[1].length);
  return (
    <div class="wide">
      <div class="toolbar">
        <nav class="tabs" aria-label="Grade">
          <Link href={withQuery('/anomalies', query, { grade: '' })} {...(grade === '' ? { 'aria-current': 'page' as const } : {})}>
            All {number(data.items.length)}
          </Link>
          {grades.map(({ id, says }) => (
            <Link
              key={id}
              href={withQuery('/anomalies', query, { grade: id })}
              title={says}
              {...(grade === id ? { 'aria-current': 'page' as const } : {})}
            >
              {id} {number(data.items.filter((item) => item.grade === id).length)}
            </Link>
          ))}
        </nav>
        <div class="chips">
          {kinds.map(([name, items]) => (
            <Link
              key={name}
              class={`chip${kind === name ? ' is-on' : ''}`}
              href={withQuery('/anomalies', query, { kind: kind === name ? '' : name })}
            >
              {name} <span class="num">{number(items.length)}</span>
            </Link>
          ))}
          {service === '' ? null : (
            <Link class="chip is-on" href={withQuery('/anomalies', query, { service: '' })}>
              service {service} ×
            </Link>
          )}
        </div>
      </div>
      {structure === undefined ? null : (
        <Panel title="Services, as traces show them">
          <ServiceGraph facts={structure.items} anomalies={data.items} />
        </Panel>
      )}
      <Panel
        title={count(shown.length, 'finding')}
        aside={data.nextCursor === null ? undefined : <span class="muted">the newest 1 000</span>}
      >
        <div class="diff-scroll">
          <table class="grid findings">
            <thead>
              <tr>
                <th scope="col">grade</th>
                <th scope="col">finding</th>
                <th scope="col">service</th>
                <th scope="col" class="right">
                  times
                </th>
                <th scope="col" class="right" title="how often one half happened and the other really failed">
                  realised
                </th>
                <th scope="col" class="right">
                  an hour
                </th>
                <th scope="col">last seen</th>
              </tr>
            </thead>
            <tbody>
              {shown.slice(0, 500).map((item) => (
                <tr key={item.fingerprint}>
                  <td>
                    <GradeTag grade={item.grade} />
                  </td>
                  <td>
                    <Link href={`/anomalies/${encodeURIComponent(item.fingerprint)}`}>
                      <Said text={item.title} />
                    </Link>
                    <p class="muted">
                      {item.kind}
                      {item.model === undefined ? '' : ` ${item.model}`}
                      {item.objectKey === undefined ? '' : ` · ${item.objectKey}`} · fix: <Said text={item.fix} />
                    </p>
                  </td>
                  <td>{item.service ?? ''}</td>
                  <td class="num">{number(item.count)}</td>
                  <td class="num">{item.realised === undefined ? '' : number(item.realised)}</td>
                  <td class="num">{item.perHour === undefined ? '' : number(item.perHour)}</td>
                  <td>
                    <Ago ms={item.lastSeenUs / 1000} nowMs={nowMs} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      {structure === undefined ? null : <Learned facts={structure.items} />}
    </div>
  );
}

/** What the findings rest on beside the spans, and where to say that it is wrong. */
function Learned({ facts }: { readonly facts: readonly LearnedFact[] }): JSX.Element | null {
  const shown = facts.filter((fact) => fact.is !== 'edge').slice(0, 100);
  if (shown.length === 0) return null;
  return (
    <Panel title="What was learned of the fleet" aside={<span class="muted">override under detect.structure</span>}>
      <table class="grid">
        <thead>
          <tr>
            <th scope="col">what</th>
            <th scope="col">name</th>
            <th scope="col" class="right">
              traces
            </th>
            <th scope="col" class="right">
              confidence
            </th>
            <th scope="col">from</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((fact) => (
            <tr key={`${fact.is} ${fact.name}`}>
              <td>{fact.is}</td>
              <td>
                {fact.name}
                {fact.steps === undefined ? null : <p class="muted">{fact.steps.join(' → ')}</p>}
                {fact.is === 'topic-lag' ? <p class="muted">taken up within {number(fact.value / 1000)} ms</p> : null}
              </td>
              <td class="num">{number(fact.support)}</td>
              <td class="num">{number(fact.confidence, 2)}</td>
              <td>{fact.from}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}

function GradeTag({ grade }: { readonly grade: StoredAnomaly['grade'] }): JSX.Element {
  const known = grades.find((candidate) => candidate.id === grade);
  return (
    <Tag tone={known?.tone ?? 'neutral'} title={known?.says ?? ''}>
      {grade}
    </Tag>
  );
}

export function AnomalyPage({ fingerprint }: { readonly fingerprint: string }): JSX.Element {
  const { data: item, error } = useResource<StoredAnomaly>(`/api/v1/anomalies/${encodeURIComponent(fingerprint)}`, ['anomaly']);
  const nowMs = useNow();
  if (item === undefined) return <Waiting what="the finding" error={error} />;
  return (
    <article class="case">
      <header class="case-head">
        <p class="crumbs">
          <Link href="/anomalies">Anomalies</Link> / <Link href={`/anomalies?kind=${item.kind}`}>{item.kind}</Link>
          <span class="dot">
            <GradeTag grade={item.grade} />
          </span>
          <span class="dot">{count(item.count, 'time')}</span>
          <span class="dot">
            last <Ago ms={item.lastSeenUs / 1000} nowMs={nowMs} />
          </span>
          <span class="dot">
            first <Ago ms={item.firstSeenUs / 1000} nowMs={nowMs} />
          </span>
        </p>
        <h1>
          <Said text={item.title} />
        </h1>
        <p class="case-facts">
          <Said text={item.explanation} />
        </p>
      </header>
      <div class="case-grid">
        <Panel title="So what">
          <p>
            <Said text={item.fix} />
          </p>
          {item.caseId === null ? (
            <p class="muted">No divergence has been traced back to it.</p>
          ) : (
            <p>
              <Link href={`/cases/${item.caseId}`}>Case {item.caseId}</Link> was caused by it.
            </p>
          )}
        </Panel>
        <Panel title="Computed from">
          <p>
            {item.complete
              ? 'Every trace that it was computed from was complete.'
              : 'Not every trace was complete: a missing span may explain it.'}
            {item.sampledShare < 1 ? ` ${number(item.sampledShare * 100, 1)} % of keys are looked at.` : ''}
          </p>
          <dl class="facts">
            {Object.entries(item.facts).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd class="num">{String(value)}</dd>
              </div>
            ))}
          </dl>
        </Panel>
      </div>
      <Panel title="Witness" aside={count(item.spans.length, 'span')}>
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">trace</th>
              <th scope="col">span</th>
            </tr>
          </thead>
          <tbody>
            {item.spans.map((span) => (
              <tr key={`${span.traceId} ${span.spanId}`}>
                <td>
                  <code>{span.traceId}</code>
                </td>
                <td>
                  <code>{span.spanId}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
    </article>
  );
}
