/** What unsafe code paths have cost, like a balance sheet, and the cheapest repayments. */
import type { JSX } from 'preact';
import type { DebtReport } from '../../report/consistency-debt.ts';
import { Empty } from './empty.tsx';
import { useResource } from './live.ts';
import { Panel, Said, Tag, Waiting } from './parts.tsx';
import { Link } from './router.tsx';
import { count, number } from './words.ts';

export function DebtPage(): JSX.Element {
  const { data, error } = useResource<DebtReport>('/api/v1/debt', ['case', 'repair']);
  if (data === undefined) return <Waiting what="the debt report" error={error} />;
  if (data.lines.length === 0) {
    return (
      <Empty title="No debt">
        <p>
          A code path that can lose or reorder state becomes a line here, priced by what it really cost: cases, minutes diverged, rows
          repaired.
        </p>
      </Empty>
    );
  }
  return (
    <div class="wide">
      <header class="overview-head">
        <h1>
          {number(data.total.points)} points in {data.windowDays} days: {count(data.total.incidents, 'case')},{' '}
          {count(Math.round(data.total.minutesDiverged), 'minute')} diverged, {count(data.total.rowsRepaired, 'row')} repaired.
        </h1>
        <p class="muted">
          A case costs {data.prices.incident}, a diverged minute {data.prices.minute}, a repaired row {data.prices.row}.
        </p>
      </header>
      {data.repayments.length === 0 ? null : (
        <Panel title="What pays back most">
          <ol class="repayments">
            {data.repayments.map((repayment) => (
              <li key={repayment.id}>
                <Said text={repayment.says} /> <span class="num">saves {number(repayment.saves)}</span>
              </li>
            ))}
          </ol>
        </Panel>
      )}
      <Panel title="Lines" aside={<span class="muted">dearest first</span>}>
        <div class="diff-scroll">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">where</th>
                <th scope="col">finding</th>
                <th scope="col" class="right">
                  seen
                </th>
                <th scope="col" class="right">
                  cases
                </th>
                <th scope="col" class="right">
                  minutes
                </th>
                <th scope="col" class="right">
                  rows
                </th>
                <th scope="col" class="right">
                  points
                </th>
                <th scope="col">{data.windowDays} days</th>
              </tr>
            </thead>
            <tbody>
              {data.lines.map((line) => (
                <tr key={line.id}>
                  <th scope="row">
                    {line.service === '' ? 'unexplained' : line.service}
                    <p class="muted">{line.edge === '' || line.edge === line.service ? line.domain : line.edge}</p>
                  </th>
                  <td>
                    {line.anomalies[0] === undefined ? (
                      <Said text={line.title} />
                    ) : (
                      <Link href={`/anomalies/${encodeURIComponent(line.anomalies[0])}`}>
                        <Said text={line.title} />
                      </Link>
                    )}{' '}
                    {line.grade === 'unexplained' ? null : <Tag>{line.grade}</Tag>}
                    <p class="muted">
                      <Said text={line.fix} />
                    </p>
                  </td>
                  <td class="num">{number(line.findings)}</td>
                  <td class="num">
                    {line.cases[0] === undefined ? (
                      number(line.cost.incidents)
                    ) : (
                      <Link href={`/cases/${line.cases[0]}`}>{number(line.cost.incidents)}</Link>
                    )}
                  </td>
                  <td class="num">{number(line.cost.minutesDiverged, line.cost.minutesDiverged < 10 ? 1 : 0)}</td>
                  <td class="num">{number(line.cost.rowsRepaired)}</td>
                  <td class="num">
                    <strong>{number(line.cost.points)}</strong>
                  </td>
                  <td>
                    <Spark values={line.trend} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
    </div>
  );
}

function Spark({ values }: { readonly values: readonly number[] }): JSX.Element {
  const most = Math.max(1e-9, ...values);
  return (
    <svg class="spark" viewBox={`0 0 ${values.length * 6} 20`} role="img" aria-label={`points a day, at most ${number(most)}`}>
      {values.map((value, index) => (
        <rect
          key={index}
          x={index * 6}
          y={20 - Math.max(1, (value / most) * 19)}
          width="4"
          height={Math.max(1, (value / most) * 19)}
          class={value === 0 ? 'spark-none' : 'spark-some'}
        />
      ))}
    </svg>
  );
}
