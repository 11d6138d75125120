/** Whether machine code for x64 can run here. */
export const runsHere = process.arch === 'x64' && process.platform !== 'win32'
