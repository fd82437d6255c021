import tseslint from 'typescript-eslint';

// Biome lints and formats; ESLint is here for what needs types, and for which room may import which.
const room = (name, forbidden) => ({
  files: [`${name}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      { patterns: [{ group: forbidden, message: `${name}/ may not import this: see docs/architecture.md` }] },
    ],
  },
});

export default tseslint.config(
  { ignores: ['dist/', 'native/build/', '.coverage/', '**/*.js', '**/*.mjs'] },
  {
    files: ['**/*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname },
    },
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
  room('sim', ['node:*', '**/drivers/**', '**/native/**', '**/vm/**', '**/scripts/**']),
  room('native', ['**/sim/**', '**/drivers/**', '**/vm/**', '**/scripts/**']),
  room('drivers', ['**/vm/**', '**/scripts/**']),
  room('vm', ['**/scripts/**']),
);
