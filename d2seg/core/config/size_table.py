"""The one expression that published configs contain, read without evaluating anything."""

import ast

_LONGEST = 300


def read_size_table(expression: str) -> list[list[float]] | None:
    """Return the numbers of ``[[x, x * 2**(1.0/3), ...] for x in [32, 64, ...]]``.

    RetinaNet's published base config writes its anchor sizes so. The expression is parsed and its
    parts are recognised one by one: columns are ``x`` or ``x * 2**(a/b)``, rows are listed numbers.

    Returns:
        One list per row, or None for an expression of any other form.
    """
    if len(expression) > _LONGEST:
        return None
    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(body, ast.ListComp) or not isinstance(body.elt, ast.List):
        return None
    rows = _rows(body)
    exponents = [_exponent(column, body.generators[0].target) for column in body.elt.elts]
    if not rows or not exponents:
        return None
    try:
        return [[_value(x, exponent) for exponent in exponents] for x in rows]
    except (ValueError, OverflowError):
        return None


def _rows(body: ast.ListComp) -> list[float | None]:
    loop = body.generators[0]
    if len(body.generators) > 1 or loop.ifs or loop.is_async or not isinstance(loop.iter, ast.List):
        return []
    return [_number(item) for item in loop.iter.elts]


def _exponent(column: ast.expr, target: ast.expr) -> float | None:
    """Return 0 for ``x`` and a/b for ``x * 2**(a/b)``; None for anything else."""
    if _same_name(column, target):
        return 0.0
    factor, power = _operands(column, ast.Mult)
    base, exponent = _operands(power, ast.Pow)
    numerator, denominator = map(_number, _operands(exponent, ast.Div))
    if not _same_name(factor, target) or _number(base) != 2 or numerator is None:
        return None
    return numerator / denominator if denominator else None


def _value(x: float | None, exponent: float | None) -> float:
    if x is None or exponent is None:
        raise ValueError("not a number")
    return x * 2.0**exponent if exponent else x  # a plain x keeps its type


def _operands(
    node: ast.AST | None, operator: type[ast.operator]
) -> tuple[ast.expr, ast.expr] | tuple[None, None]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, operator):
        return node.left, node.right
    return None, None


def _same_name(node: ast.AST | None, target: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(target, ast.Name) and node.id == target.id


def _number(node: ast.AST | None) -> float | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
