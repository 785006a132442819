/** Rows side by side: what each replica holds, and what the targets hold afterwards. */
import type { JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';
import type { StoredDivergence } from '../../io/store/divergences.ts';
import type { Effect } from '../../domain/effect.ts';
import type { Row } from '../../domain/row.ts';
import { VirtualList } from './parts.tsx';
import type { ProposalDetail } from './proposal.tsx';
import { absolute, keyWords, number } from './words.ts';

/** Up to this many rows stand as whole tables; more are a list, one line a row. */
const wholeTables = 2;
const gridRowPx = 34;

interface KeyGroup {
  readonly text: string;
  readonly key: Effect['key'];
  readonly effects: readonly Effect[];
  readonly divergence: StoredDivergence | undefined;
}

export function Difference({ proposal }: { readonly proposal: ProposalDetail }): JSX.Element {
  const groups = useMemo(() => groupByKey(proposal), [proposal]);
  const [open, setOpen] = useState<string | null>(null);
  if (groups.length <= wholeTables) {
    return (
      <>
        {groups.map((group) => (
          <RowTable key={group.text} group={group} proposal={proposal} />
        ))}
      </>
    );
  }
  const shown = groups.find((group) => group.text === open) ?? groups[0];
  return (
    <>
      {shown === undefined ? null : <RowTable group={shown} proposal={proposal} />}
      <p class="muted diff-more">
        {number(groups.length)} keys
        {proposal.effects.length < proposal.rows
          ? ` of the first ${number(proposal.effects.length)} effects; homeostat proposals show ${proposal.id} --json prints all ${number(proposal.rows)}`
          : ''}
        . Choose one to see it above.
      </p>
      <div class="diff-list">
        <VirtualList items={groups} rowHeight={gridRowPx} label="Rows that would change">
          {(group, _index, style) => (
            <div key={group.text} role="listitem" style={style}>
              <button
                type="button"
                class={`diff-line${group === shown ? ' is-current' : ''}`}
                aria-pressed={group === shown}
                onClick={() => setOpen(group.text)}
              >
                <span class="num diff-key">{keyWords(group.key)}</span>
                <span class="diff-what">{group.effects.map((effect) => summary(effect)).join(' · ')}</span>
              </button>
            </div>
          )}
        </VirtualList>
      </div>
    </>
  );
}

function RowTable({ group, proposal }: { readonly group: KeyGroup; readonly proposal: ProposalDetail }): JSX.Element {
  const targets = group.effects.map((effect) => effect.replica);
  // The authority first, then other sources, then the targets: read from left (right) to right (wrong, then put right).
  const replicas = Object.keys(group.divergence?.replicas ?? {}).filter((replica) => !targets.includes(replica));
  const sources = replicas.toSorted((a, b) => Number(b === proposal.authority) - Number(a === proposal.authority) || (a < b ? -1 : 1));
  const isOneAfter = group.effects.every((effect) => effect.leaves === group.effects[0]?.leaves);
  const rows: readonly (Row | null | undefined)[] = [
    ...sources.map((source) => group.divergence?.replicas[source]),
    ...group.effects.flatMap((effect) => [effect.before, effect.after]),
  ];
  const columns = [...new Set(rows.flatMap((row) => (row === null || row === undefined ? [] : Object.keys(row))))];
  const keyColumns = Object.keys(group.key);
  const isChanged = (column: string): boolean =>
    group.effects.some((effect) => (effect.before?.[column] ?? undefined) !== (effect.after?.[column] ?? undefined));
  const ordered = [
    ...keyColumns,
    ...columns.filter((column) => !keyColumns.includes(column) && isChanged(column)),
    ...columns.filter((column) => !keyColumns.includes(column) && !isChanged(column)),
  ];
  const place = (replica: string): string => {
    const position = group.divergence?.seenAt[replica];
    return position === undefined ? replica : `${replica} at ${position.is} ${position.text}, read ${absolute(position.atMs)}`;
  };
  return (
    <div class="diff-scroll">
      <table class="diff">
        <caption>
          {keyColumns.join(', ')} <strong>{keyWords(group.key)}</strong>{' '}
          <span class="muted">{group.effects.map((effect) => `${effect.kind} on ${effect.replica}`).join(', ')}</span>
        </caption>
        <thead>
          <tr>
            <th scope="col">column</th>
            {sources.map((source) => (
              <th scope="col" key={source} title={place(source)}>
                {source}
                <span class="muted">{source === proposal.authority ? ' authority' : ' source'}</span>
              </th>
            ))}
            {group.effects.map((effect) => (
              <th scope="col" key={effect.replica} title={place(effect.replica)}>
                {effect.replica}
                <span class="muted"> now</span>
              </th>
            ))}
            {isOneAfter ? (
              <th scope="col" class="after">
                after
              </th>
            ) : (
              group.effects.map((effect) => (
                <th scope="col" class="after" key={effect.replica}>
                  {effect.replica}
                  <span class="muted"> after</span>
                </th>
              ))
            )}
          </tr>
        </thead>
        <tbody>
          {ordered.map((column, index) => (
            <tr key={column} class={isChanged(column) ? 'is-changed' : ''}>
              <th scope="row">
                {column}
                <ColumnClass is={proposal.columnClasses[column]} />
              </th>
              {sources.map((source) => (
                <Cell
                  key={source}
                  row={group.divergence?.replicas[source]}
                  column={column}
                  title={place(source)}
                  tone=""
                  label={source}
                  isFirst={index === 0}
                  span={ordered.length}
                />
              ))}
              {group.effects.map((effect) => (
                <Cell
                  key={effect.replica}
                  row={effect.before}
                  column={column}
                  title={place(effect.replica)}
                  tone={isChanged(column) ? 'cell-wrong' : ''}
                  label={`${effect.replica} now`}
                  isFirst={index === 0}
                  span={ordered.length}
                />
              ))}
              {(isOneAfter ? group.effects.slice(0, 1) : group.effects).map((effect) => (
                <Cell
                  key={effect.replica}
                  row={effect.after}
                  column={column}
                  title={`after the repair, on ${isOneAfter ? targets.join(', ') : effect.replica}`}
                  tone={`after${isChanged(column) ? ' cell-after' : ''}`}
                  label={isOneAfter ? 'after' : `${effect.replica} after`}
                  isFirst={index === 0}
                  span={ordered.length}
                />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface CellProps {
  readonly row: Row | null | undefined;
  readonly column: string;
  readonly title: string;
  readonly tone: string;
  /** Head of its column, which stands beside the value where the table is too narrow to be one. */
  readonly label: string;
  readonly isFirst: boolean;
  /** Lines of the table: a row that is not there is said once, across all of them. */
  readonly span: number;
}

function Cell({ row, column, title, tone, label, isFirst, span }: CellProps): JSX.Element | null {
  if (row === null) {
    return isFirst ? (
      <td class={`${tone} cell-missing`} title={title} rowSpan={span} data-label={label}>
        no row
      </td>
    ) : null;
  }
  const value = row?.[column];
  const isNumber = typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value);
  return (
    <td
      class={`${tone}${isNumber ? ' num' : ''}`}
      title={typeof value === 'string' && shorten(value) !== value ? `${value} · ${title}` : title}
      data-label={label}
    >
      {value === null ? <span class="absent">NULL</span> : value === '' ? <span class="absent">empty</span> : shorten(value ?? '')}
    </td>
  );
}

/** UTC is the canonical zone of every timestamp here: the cell's title says it, the cell keeps its width. */
function shorten(value: string): string {
  return /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+00$/.test(value) ? value.slice(0, -3) : value;
}

function ColumnClass({ is }: { readonly is: string | undefined }): JSX.Element | null {
  if (is === undefined || is === 'plain') return null;
  return (
    <span class="column-class" title={is === 'money' ? 'money: never repaired automatically' : `column class ${is}`}>
      {is}
    </span>
  );
}

/** What one effect does, short: the values that come, go or change. */
function summary(effect: Effect): string {
  const columns = Object.keys({ ...effect.before, ...effect.after }).filter((column) => effect.key[column] === undefined);
  if (effect.kind !== 'update')
    return `${effect.kind} on ${effect.replica}: ${columns.map((column) => show((effect.after ?? effect.before)?.[column])).join(', ')}`;
  const changed = columns.filter((column) => effect.before?.[column] !== effect.after?.[column]);
  return `${effect.replica}: ${changed.map((column) => `${column} ${show(effect.before?.[column])} → ${show(effect.after?.[column])}`).join(', ')}`;
}

function show(value: string | null | undefined): string {
  return value === undefined ? '–' : value === null ? 'NULL' : value === '' ? "''" : value;
}

function groupByKey(proposal: ProposalDetail): readonly KeyGroup[] {
  const groups = new Map<string, Effect[]>();
  for (const effect of proposal.effects) {
    const text = JSON.stringify(Object.entries(effect.key).toSorted(([a], [b]) => (a < b ? -1 : 1)));
    const group = groups.get(text);
    if (group === undefined) groups.set(text, [effect]);
    else group.push(effect);
  }
  const divergences = new Map(
    proposal.divergences.map((divergence) => [
      JSON.stringify(Object.entries(divergence.key).toSorted(([a], [b]) => (a < b ? -1 : 1))),
      divergence,
    ]),
  );
  return [...groups].map(([text, effects]) => ({ text, key: effects[0]?.key ?? {}, effects, divergence: divergences.get(text) }));
}
