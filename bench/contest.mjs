// Contestants that do the same jobs in turn, so that ratios within one run hold whatever else the machine does.
import { median } from './support.mjs'

/**
 * Asks each contestant for each of its jobs (`run JOB`, answered with `milliseconds`), round by round; the first round warms up and does not
 * count. Who fails is left out with a sentence.
 *
 * @param contestants [{ name, jobs, process }]
 * @returns for each contestant's name the milliseconds of its jobs, a number for each round
 */
export async function contest(contestants, rounds) {
  const times = new Map(contestants.map(({ name, jobs }) => [name, Object.fromEntries(jobs.map((job) => [job, []]))]))
  const jobs = [...new Set(contestants.flatMap((one) => one.jobs))]
  for (let round = -1; round < rounds; round++)
    for (const job of jobs)
      for (const { name, process } of contestants.filter((one) => one.jobs.includes(job) && times.has(one.name)))
        try {
          const { milliseconds } = await process.ask(`run ${job}`)
          if (round >= 0) times.get(name)[job].push(milliseconds)
        } catch ({ message }) {
          console.error(`${name} is left out: ${message.split('\n')[0]}`)
          times.delete(name)
        }
  return times
}

/**
 * Runs each of several things in turn, round by round; the first round warms up and does not count.
 *
 * @param run what a run of NAME gives
 * @returns for each name what its runs gave, one for each round
 */
export async function inTurn(names, rounds, run) {
  const found = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = -1; round < rounds; round++)
    for (const name of names) {
      const one = await run(name)
      if (round >= 0) found[name].push(one)
    }
  return found
}

/** How many times faster ours does a job than a peer: the median of the rounds' ratios; null where one of them is absent. */
export function timesFaster(times, ours, peer, job, peerJob = job) {
  const [own, other] = [times.get(ours)?.[job], times.get(peer)?.[peerJob]]
  return own && other ? median(other.map((value, round) => value / own[round])) : null
}

/** The ratios that could be measured. */
export const measured = (ratios) => Object.fromEntries(Object.entries(ratios).filter(([, value]) => value !== null))

/** A table of ratios, with what the processor has. */
export function ratioTable(ratios, { instructions }) {
  const rows = Object.entries(ratios).map(([peer, value]) => ({ 'times faster than': peer, ratio: value.toFixed(2) }))
  return [`How many times faster, with ${instructions.join(' ') || 'none of the instructions known here'}`, rows]
}
