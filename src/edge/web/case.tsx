/** A case by its id: its live proposal where it has one, else why there is none. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { StoredCase } from '../../io/store/cases.ts';
import type { TracedCase } from '../../runtime/trace-back.ts';
import type { StoredDivergence } from '../../io/store/divergences.ts';
import type { ProposalSummary } from '../../io/store/proposals.ts';
import type { Listing } from './api.ts';
import { useNow, useResource } from './live.ts';
import { Ago, Panel, Said, Tag, Waiting } from './parts.tsx';
import { go, Link } from './router.tsx';
import { count, keyWords } from './words.ts';

export function CasePage({ id }: { readonly id: string }): JSX.Element {
  const { data: item, error } = useResource<StoredCase & { readonly trace: TracedCase | null }>(`/api/v1/cases/${encodeURIComponent(id)}`, [
    'case',
  ]);
  const { data: proposals } = useResource<Listing<ProposalSummary>>(`/api/v1/proposals?caseId=${encodeURIComponent(id)}`, ['proposal']);
  const { data: divergences } = useResource<Listing<StoredDivergence>>(`/api/v1/divergences?caseId=${encodeURIComponent(id)}&limit=100`, [
    'divergence',
  ]);
  const nowMs = useNow();
  const latest = proposals?.items[0];
  useEffect(() => {
    if (latest === undefined) return;
    history.replaceState(null, '', `/proposals/${latest.id}`);
    go(`/proposals/${latest.id}`);
  }, [latest]);
  if (item === undefined) return <Waiting what={`case ${id}`} error={error} />;
  return (
    <article class="case">
      <header class="case-head">
        <p class="crumbs">
          <Link href="/queue">Queue</Link> / {item.domain} / <strong>{item.collection}</strong> <span class="dot">case {item.id}</span>{' '}
          <span class="dot">
            <Tag tone={item.state === 'closed' ? 'verified' : 'waiting'}>{item.closedAs ?? item.state}</Tag>
          </span>
          <span class="dot">
            opened <Ago ms={item.openedAtMs} nowMs={nowMs} />
          </span>
        </p>
        <h1>{item.title}</h1>
        <p class="case-facts">{item.note ?? (item.state === 'open' ? 'No proposal yet: it is being worked out.' : '')}</p>
      </header>
      <TracePanel trace={item.trace} />
      <Panel title="Keys that differ" aside={count(item.rows, 'row')}>
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">key</th>
              <th scope="col">is</th>
              <th scope="col">status</th>
              <th scope="col">columns</th>
              <th scope="col">first seen</th>
            </tr>
          </thead>
          <tbody>
            {(divergences?.items ?? []).map((divergence) => (
              <tr key={divergence.id}>
                <td class="num">{keyWords(divergence.key)}</td>
                <td>{divergence.is}</td>
                <td>{divergence.status}</td>
                <td>{divergence.columns.join(', ')}</td>
                <td>
                  <Ago ms={divergence.firstSeenMs} nowMs={nowMs} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
    </article>
  );
}

/** From the rows back to the write that caused them: nothing where traces tell of none. */
export function TracePanel({ trace }: { readonly trace: TracedCase | null | undefined }): JSX.Element | null {
  if (trace?.says === undefined) return null;
  return (
    <Panel title="Where it comes from" aside={count(trace.rows.length, 'row')}>
      <p>
        <Said text={trace.says} />
      </p>
      <div class="diff-scroll">
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">key</th>
              <th scope="col">written by</th>
              <th scope="col">on</th>
              <th scope="col">version</th>
              <th scope="col">not on</th>
              <th scope="col">trace</th>
            </tr>
          </thead>
          <tbody>
            {trace.rows.slice(0, 8).map((row) => (
              <tr key={keyWords(row.key)}>
                <td class="num">{keyWords(row.key)}</td>
                <td>{row.write.service}</td>
                <td>{row.write.replica ?? ''}</td>
                <td class="num">{row.write.version ?? ''}</td>
                <td>
                  {row.without.length === 0 ? 'not known' : row.without.join(', ')}
                  {row.unsent === undefined ? '' : ' (its message failed)'}
                </td>
                <td>
                  <code>{row.write.span.traceId}</code>
                  {row.by === 'time' ? ' (by its time)' : ''}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
