import type { Command } from 'commander';
import type { DebtLine, DebtReport } from '../../report/consistency-debt.ts';
import { openClient, type ServiceOptions, withServiceOptions } from './client.ts';
import { count, table } from './print.ts';
import type { CliContext } from './program.ts';

/** Lines that a terminal shows; `--json` prints all. */
const shownLines = 30;

export function registerDebt(program: Command, context: CliContext): void {
  withServiceOptions(program.command('debt')).action(async (options: ServiceOptions) => {
    const report = (await openClient(options, context).get('/api/v1/debt')) as DebtReport;
    context.out(options.json === true ? JSON.stringify(report) : describeDebt(report));
  });
}

function describeDebt(report: DebtReport): string {
  const { total } = report;
  if (report.lines.length === 0) return 'No debt: no finding and no case in the window.';
  const where = (line: DebtLine): string => [line.service || 'unexplained', line.edge].filter((part) => part !== '').join(': ');
  return [
    `${Math.round(total.points)} points in ${report.windowDays} days: ${count(total.incidents, 'case')}, ${count(Math.round(total.minutesDiverged), 'minute')} diverged, ${count(total.rowsRepaired, 'row')} repaired.`,
    '',
    table(report.lines.slice(0, shownLines), [
      { head: 'POINTS', of: (line) => Math.round(line.cost.points), isRight: true },
      { head: 'CASES', of: (line) => line.cost.incidents, isRight: true },
      { head: 'ROWS', of: (line) => line.cost.rowsRepaired, isRight: true },
      { head: 'SEEN', of: (line) => line.findings, isRight: true },
      { head: 'GRADE', of: (line) => line.grade },
      { head: 'WHERE', of: where },
      { head: 'WHAT', of: (line) => line.title },
    ]),
    ...(report.repayments.length === 0
      ? []
      : [
          '',
          'What pays back most:',
          ...report.repayments.map((repayment) => `  ${repayment.says} (saves ${Math.round(repayment.saves)})`),
        ]),
  ].join('\n');
}
