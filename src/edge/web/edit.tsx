/** Other rows than the ones proposed: a person's own values, which someone else must approve. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Row } from '../../domain/row.ts';
import { CallError, send } from './api.ts';
import { Panel, Problem } from './parts.tsx';
import type { ProposalDetail } from './proposal.tsx';
import { go } from './router.tsx';
import { keyWords } from './words.ts';

/** A form for more rows than this is a spreadsheet's work: `homeostat proposals edit --rows FILE`. */
const maxRows = 20;

export function EditRows({ proposal, onClose }: { readonly proposal: ProposalDetail; readonly onClose: () => void }): JSX.Element {
  const byKey = new Map(proposal.effects.map((effect) => [JSON.stringify(effect.key), effect]));
  const [rows, setRows] = useState<readonly { readonly key: Row; readonly row: Row | null }[]>(
    [...byKey.values()].map((effect) => ({ key: effect.key, row: effect.after })),
  );
  const [error, setError] = useState<CallError | null>(null);
  if (rows.length > maxRows) {
    return (
      <Panel title="Edit">
        <p>
          {proposal.id} touches {rows.length} keys: edit them in a file with{' '}
          <code>
            homeostat proposals edit {proposal.id} --digest {proposal.digest.slice(0, 16)} --rows FILE
          </code>
          .
        </p>
        <button type="button" onClick={onClose}>
          Back
        </button>
      </Panel>
    );
  }
  const change = (index: number, row: Row | null): void => setRows(rows.map((item, at) => (at === index ? { ...item, row } : item)));
  const save = async (): Promise<void> => {
    try {
      const answer = await send<{ readonly proposalId: string }>(`/api/v1/proposals/${proposal.id}/edit`, {
        digest: proposal.digest,
        rows,
      });
      go(`/proposals/${answer.proposalId}`);
    } catch (failure) {
      setError(failure instanceof CallError ? failure : new CallError(0, String(failure), undefined));
    }
  };
  return (
    <Panel title="Edit the rows" aside={<span class="muted">a new proposal takes this one's place; someone else must approve it</span>}>
      <form
        class="edit"
        onSubmit={(event) => {
          event.preventDefault();
          void save();
        }}
      >
        {rows.map(({ key, row }, index) => (
          <fieldset key={JSON.stringify(key)}>
            <legend>{keyWords(key as Readonly<Record<string, string>>)}</legend>
            <label class="check">
              <input
                type="checkbox"
                checked={row === null}
                onChange={(event) => change(index, event.currentTarget.checked ? null : (byKey.get(JSON.stringify(key))?.after ?? key))}
              />{' '}
              no row
            </label>
            {row === null
              ? null
              : Object.entries(row)
                  .filter(([column]) => key[column] === undefined)
                  .map(([column, value]) => (
                    <label class="field" key={column}>
                      {column}
                      <input
                        type="text"
                        value={value ?? ''}
                        placeholder={value === null ? 'NULL' : ''}
                        onInput={(event) => change(index, { ...row, [column]: event.currentTarget.value })}
                      />
                      <button type="button" class="link" onClick={() => change(index, { ...row, [column]: null })}>
                        {value === null ? 'is NULL' : 'set NULL'}
                      </button>
                    </label>
                  ))}
          </fieldset>
        ))}
        {error === null ? null : <Problem error={error} />}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary">
            Propose these rows
          </button>
        </div>
      </form>
    </Panel>
  );
}
