/** How the learning rate goes over the steps: a factor on the rate asked for. */

/** @returns the factor, from the step (counting from 0) and the number of all steps */
export type Schedule = (step: number, steps: number) => number

export interface ScheduleOptions {
  /** Steps, or a share of all steps when below 1, over which the rate rises from 0. Default 0.1. */
  readonly warmup?: number
  /** The factor at the end. Default 0. */
  readonly floor?: number
  /** warmup-stable-decay: the share of steps over which the rate falls at the end. Default 0.2. */
  readonly decay?: number
}

/** From the share that is done of what follows the warm-up to the factor. */
type Course = (done: number, options: Required<ScheduleOptions>) => number

const courses = {
  constant: () => 1,
  linear: (done, { floor }) => 1 - (1 - floor) * done,
  /** Loshchilov and Hutter 2017, SGDR, eq. 5, without restarts. */
  cosine: (done, { floor }) => floor + ((1 - floor) * (1 + Math.cos(Math.PI * done))) / 2,
  /** Hu et al. 2024, MiniCPM, section 4; the fall is linear. */
  'warmup-stable-decay': (done, { floor, decay }) => (done <= 1 - decay ? 1 : floor + ((1 - floor) * (1 - done)) / decay),
} satisfies Record<string, Course>

export type ScheduleName = keyof typeof courses

export const scheduleNames = Object.keys(courses) as ScheduleName[]

/**
 * A schedule by name, with a linear warm-up before it.
 *
 * @example
 * schedule('linear', { warmup: 0 })(5, 10) // 0.5
 */
export function schedule(name: ScheduleName, { warmup = 0.1, floor = 0, decay = 0.2 }: ScheduleOptions = {}): Schedule {
  const course: Course = courses[name]
  return (step, steps) => {
    const rising = warmup < 1 ? Math.ceil(warmup * steps) : warmup
    if (step < rising) return (step + 1) / rising
    const done = steps > rising ? (step - rising) / (steps - rising) : 1
    return course(Math.min(done, 1), { warmup, floor, decay })
  }
}
