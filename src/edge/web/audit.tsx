/** The hash chain, newest first. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { AuditEntry } from '../../report/audit-chain.ts';
import { type Listing, read } from './api.ts';
import { Copy, Empty } from './empty.tsx';
import { useResource } from './live.ts';
import { Panel, VirtualList, Waiting } from './parts.tsx';
import { Link, usePath } from './router.tsx';
import { absolute, clock, count } from './words.ts';

export function AuditPage(): JSX.Element {
  const { query } = usePath();
  const subject = query.get('subject') ?? '';
  const seq = query.get('seq');
  const { data, error } = useResource<Listing<AuditEntry>>(
    `/api/v1/audit?limit=500${subject === '' ? '' : `&subject=${encodeURIComponent(subject)}`}`,
  );
  const [older, setOlder] = useState<Listing<AuditEntry> | null>(null);
  useEffect(() => setOlder(null), [data]);
  if (data === undefined) return <Waiting what="the audit chain" error={error} />;
  const items = [...data.items, ...(older?.items ?? [])];
  const next = older === null ? data.nextCursor : older.nextCursor;
  if (items.length === 0) {
    return (
      <Empty title="Nothing was decided yet">
        <p>Every proposal, verdict, approval, repair and proof is chained here by hash. To check the chain offline:</p>
        <Copy text="npx homeostat audit verify" />
      </Empty>
    );
  }
  const more = async (): Promise<void> => {
    const found = await read<Listing<AuditEntry>>(
      `/api/v1/audit?limit=1000&cursor=${next ?? ''}${subject === '' ? '' : `&subject=${encodeURIComponent(subject)}`}`,
    );
    setOlder({ items: [...(older?.items ?? []), ...found.items], nextCursor: found.nextCursor });
  };
  const open = items.find((entry) => String(entry.seq) === seq);
  return (
    <div class="wide fill">
      {open === undefined ? null : (
        <Panel title={`Entry ${open.seq}: ${open.action}`} aside={<Link href="/audit">close</Link>}>
          <pre class="entry">{JSON.stringify(open, null, 2)}</pre>
        </Panel>
      )}
      <Panel
        title={`${count(items.length, 'entry', 'entries')}${subject === '' ? '' : ` about ${subject}`}`}
        class="fill"
        aside={
          <>
            {subject === '' ? null : <Link href="/audit">all</Link>} <code>npx homeostat audit verify</code>
          </>
        }
      >
        <VirtualList items={items} rowHeight={34} label="Audit entries">
          {(entry, _index, style) => (
            <div key={entry.seq} role="listitem" style={style} class="audit-line">
              <Link href={`/audit?seq=${entry.seq}`} class="num">
                {entry.seq}
              </Link>
              <time title={absolute(Date.parse(entry.at))}>{clock(Date.parse(entry.at))}</time>
              <span class="actor">{entry.actor}</span>
              <span>{entry.action}</span>
              <Link href={`/audit?subject=${encodeURIComponent(entry.subject)}`}>{entry.subject}</Link>
              <code class="muted">{entry.hash.slice(0, 12)}</code>
            </div>
          )}
        </VirtualList>
        {next === null ? null : (
          <button type="button" class="small" onClick={() => void more()}>
            Older
          </button>
        )}
      </Panel>
    </div>
  );
}
