"""Layers over sequences: recurrent ones and attention."""

from __future__ import annotations

from typing import Any

from .case import Keras, model, normal, padded


@model(x=normal(6, 4))
def recurrent(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.LSTM(3)(x),
        L.LSTM(3, return_sequences=True, go_backwards=True)(x),
        L.LSTM(3, activation="relu", use_bias=False)(x),
        L.LSTM(3, recurrent_activation="hard_sigmoid", return_sequences=True)(x),
        *L.LSTM(3, return_sequences=True, return_state=True)(x),
        L.SimpleRNN(3)(x),
        L.SimpleRNN(3, return_sequences=True, activation="relu")(x),
        *L.SimpleRNN(3, return_state=True)(x),
        L.GRU(3)(x),
        L.GRU(3, return_sequences=True, reset_after=False)(x),
        L.GRU(3, go_backwards=True, use_bias=False, activation="softsign")(x),
        *L.GRU(3, return_state=True)(x),
        L.LSTM(3, unroll=True)(x),
    ]


@model(x=normal(None, 4))
def recurrent_open(k: Keras, x: Any) -> Any:
    """Sequences of unknown length."""
    L = k.layers  # noqa: N806
    return [
        L.LSTM(3, return_sequences=True)(x),
        L.GRU(3, return_sequences=True)(x),
        L.Bidirectional(L.LSTM(3, return_sequences=True))(x),
        L.TimeDistributed(L.Dense(3))(x),
        L.RNN(L.LSTMCell(3))(x),
    ]


@model(x=padded(6, 4))
def recurrent_masked(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    y = L.Masking()(x)
    found = [
        L.LSTM(3)(y),
        L.LSTM(3, return_sequences=True)(y),
        L.GRU(3, return_sequences=True)(y),
        L.SimpleRNN(3, go_backwards=True)(y),
        L.Bidirectional(L.LSTM(3))(y),
        L.Bidirectional(L.GRU(3, return_sequences=True))(y),
        L.GRU(2)(L.Dense(3)(L.LSTM(3, return_sequences=True)(y))),
        L.GlobalAveragePooling1D()(L.Add()([y, y])),
        L.LSTM(2)(L.Concatenate()([y, y])),
        L.LSTM(2)(L.Concatenate(axis=1)([y, y])),
        L.Attention()([y, y]),
    ]
    if k.version == 3:
        found.append(L.LSTM(2)(L.Concatenate(axis=1)([y, x])))
    return found


@model(x=normal(5, 4), h=normal(3), c=normal(3))
def recurrent_states(k: Keras, x: Any, h: Any, c: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.LSTM(3)(x, initial_state=[h, c]),
        *L.GRU(3, return_sequences=True, return_state=True)(x, initial_state=h),
        L.SimpleRNN(3)(x, initial_state=[h]),
        L.Bidirectional(L.LSTM(3, return_sequences=True))(x, initial_state=[h, c, c, h]),
    ]


@model(x=normal(5, 4))
def recurrent_cells(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    cells = [L.LSTMCell(3), L.GRUCell(4), L.SimpleRNNCell(2)]
    return [
        L.RNN(L.GRUCell(3))(x),
        L.RNN(L.SimpleRNNCell(3), return_sequences=True)(x),
        L.RNN(cells, return_sequences=True)(x),
        L.RNN([L.SimpleRNNCell(2), L.LSTMCell(3)])(x),
    ]


@model(x=normal(5, 4))
def bidirectional(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    separate = L.Bidirectional(
        L.GRU(3, return_sequences=True),
        backward_layer=L.LSTM(3, return_sequences=True, go_backwards=True),
    )
    return [
        L.Bidirectional(L.LSTM(3, return_sequences=True))(x),
        L.Bidirectional(L.LSTM(3))(x),
        L.Bidirectional(L.SimpleRNN(3, return_sequences=True), merge_mode="sum")(x),
        L.Bidirectional(L.GRU(3), merge_mode="mul")(x),
        L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="ave")(x),
        *L.Bidirectional(L.LSTM(3), merge_mode=None)(x),
        *L.Bidirectional(L.LSTM(3, return_state=True))(x),
        separate(x),
    ]


@model(x=normal(3, 5, 4, 2), s=normal(3, 6, 2), v=normal(2, 3, 4, 3, 1))
def convolutional_lstm(k: Keras, x: Any, s: Any, v: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.ConvLSTM2D(3, 3, padding="same")(x),
        L.ConvLSTM2D(3, 2, return_sequences=True, strides=2)(x),
        L.ConvLSTM1D(3, 3, return_sequences=True, activation="relu")(s),
        L.Bidirectional(L.ConvLSTM2D(2, 3, padding="same"))(x),
        L.ConvLSTM3D(2, 2, padding="same")(v),
        L.TimeDistributed(L.Conv2D(3, 2))(x),
        L.TimeDistributed(L.Flatten())(x),
    ]


@model(q=normal(5, 6), v=normal(4, 6))
def attention(k: Keras, q: Any, v: Any) -> Any:
    L = k.layers  # noqa: N806
    found = [
        L.MultiHeadAttention(2, 3)(q, v),
        L.MultiHeadAttention(3, 2, value_dim=4, use_bias=False, output_shape=5)(q, v, key=v),
        *L.MultiHeadAttention(2, 3)(q, v, return_attention_scores=True),
        L.MultiHeadAttention(2, 4)(q, q, use_causal_mask=True),
        L.Attention()([q, v]),
        L.Attention(use_scale=True)([q, v, v]),
        L.Attention(score_mode="concat")([q, v]),
        L.AdditiveAttention()([q, v]),
        L.AdditiveAttention(use_scale=False)([q, v]),
        L.Attention()([q, q], use_causal_mask=True),
    ]
    if k.version == 3:
        found += [
            L.GroupQueryAttention(3, 4, 2)(q, v),
            L.GroupQueryAttention(3, 2, 2, use_bias=False)(q, q, use_causal_mask=True),
        ]
    return found


@model(q=padded(6, 4), v=padded(6, 4))
def attention_masked(k: Keras, q: Any, v: Any) -> Any:
    L = k.layers  # noqa: N806

    def masked(x: Any) -> Any:  # anew each time: some layers take the mask away
        return L.Masking()(x)

    both = masked(q)
    return [
        L.MultiHeadAttention(2, 3)(q, masked(v)),
        L.MultiHeadAttention(2, 3)(both, both, use_causal_mask=True),
        L.MultiHeadAttention(2, 3, dropout=0.1)(masked(q), masked(v)),
        L.Attention()([masked(q), masked(v)]),
        L.AdditiveAttention()([q, masked(v)]),
        L.GlobalAveragePooling1D()(L.MultiHeadAttention(2, 3)(masked(q), q)),
    ]


@model(q=normal(None, 6))
def attention_open(k: Keras, q: Any) -> Any:
    """Sequences of unknown length."""
    L = k.layers  # noqa: N806
    y = L.MultiHeadAttention(2, 3)(q, q)
    return [L.LayerNormalization()(L.Add()([q, y])), L.Attention(dropout=0.1)([y, q])]


@model(x=normal(4, 3, batch=2))
def stateful(k: Keras, x: Any) -> Any:
    L = k.layers  # noqa: N806
    return [
        L.LSTM(3, stateful=True)(x),
        L.GRU(3, stateful=True, return_sequences=True)(x),
    ]
