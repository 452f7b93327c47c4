// Reached through another module only.

const offset = 7;

function hidden(x: number): number {
  return x + offset;
}

export { hidden as resolved };
