// Output-stationary array with N:M selection. Control words and activations move right, weights move down, one hop per
// cycle; a PE owns up to PLACES interleaved accumulators behind an adder of latency L. At the end of a tile a token
// walks down the rows: a PE sends its accumulators down the column one per cycle and hands the token on, so that one
// value leaves a column per cycle. Tiles run one after another. ROWS and COLS are 2 or more (Icarus Verilog 11 does not
// take array ports of one element).

module os_pe #(
    parameter int V = 1,
    parameter int WORD = 1,
    parameter int L = 1,
    parameter int PLACES = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [7:0] owned,  // accumulators in use in this tile
    input  wire valid,
    input  wire first,  // of the reduction: starts from zero
    input  wire [7:0] place,
    input  wire [WORD*8-1:0] x,
    input  wire [V*16-1:0] w,
    output logic q_valid,
    output logic q_first,
    output logic [7:0] q_place,
    output logic [WORD*8-1:0] q_x,
    output logic [V*16-1:0] q_w,
    input  wire token,
    input  wire right,  // the PE on the right is in use
    output logic q_token,
    output logic token_down,
    input  wire drain_valid,
    input  wire signed [31:0] drain,
    output wire out_valid,
    output wire signed [31:0] out,
    output logic q_out_valid,
    output logic signed [31:0] q_out
);
  logic signed [31:0] accumulators[0:PLACES-1];
  wire signed [31:0] sum, result;
  wire result_valid;
  wire [7:0] result_place;
  nm_dot #(.V(V), .WORD(WORD)) dot (.x, .w, .sum);
  adder_pipe #(.L(L), .TAG(8)) adder (
      .clk, .rst, .valid, .tag(place), .a(first ? 32'sd0 : accumulators[place]), .b(sum),
      .out_valid(result_valid), .out_tag(result_place), .out(result)
  );

  // the token starts with accumulator 0 in the cycle it arrives
  logic [7:0] sent;
  logic last_sent;
  wire draining = token | sent != 0;
  assign out_valid = draining | drain_valid;
  assign out = draining ? accumulators[sent] : drain;

  always_ff @(posedge clk) begin
    q_valid <= valid & ~rst;
    q_first <= first;
    q_place <= place;
    q_x <= x;
    q_w <= w;
    q_token <= token & right & ~rst;
    if (result_valid) accumulators[result_place] <= result;
    if (rst) sent <= 0;
    else if (draining) sent <= sent + 1 == owned ? 0 : sent + 1;
    // the PE below may start one cycle after the last value of this one has gone past it
    last_sent <= ~rst & draining & sent + 1 == owned;
    token_down <= ~rst & last_sent;
    q_out_valid <= out_valid & ~rst;
    q_out <= out;
  end
endmodule

// Counters that walk tiles (m blocks outer, n blocks inner), slots of the reduction, and accumulators.
module os_control #(
    parameter int ROWS = 1,
    parameter int COLS = 1,
    parameter int L = 1,
    parameter int IA = 1,
    parameter int IB = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [15:0] m,
    input  wire [15:0] n,
    input  wire [15:0] slots,
    input  wire tile_done,
    output logic [15:0] m0,
    output logic [15:0] n0,
    output wire [15:0] mt,
    output wire [15:0] nt,
    output wire [15:0] r,
    output wire [15:0] c,
    output wire [7:0] ib,
    output wire [7:0] owned,
    output wire valid,
    output logic [15:0] slot,
    output logic [7:0] a,
    output logic [7:0] b,
    output wire [7:0] place,
    output wire drain,
    output logic done,
    output logic [31:0] cycles
);
  assign mt = m - m0 < ROWS * IA ? m - m0 : ROWS * IA;
  assign nt = n - n0 < COLS * IB ? n - n0 : COLS * IB;
  assign r = mt < ROWS ? mt : ROWS;
  assign c = nt < COLS ? nt : COLS;
  wire [7:0] ia = (mt + ROWS - 1) / ROWS;
  assign ib = (nt + COLS - 1) / COLS;
  assign owned = ia * ib;

  logic issuing;
  logic [7:0] step, countdown;
  wire [7:0] period = owned < L ? L : owned;  // an accumulator is read L cycles after its last op at the earliest
  wire last_op = issuing & slot == slots - 1 & step == owned - 1;
  assign valid = issuing & step < owned;
  assign place = step;
  assign drain = countdown == 1;

  always_ff @(posedge clk) begin
    if (rst) begin
      {m0, n0, slot, a, b, step, countdown, cycles} <= '0;
      issuing <= 1;
      done <= 0;
    end else if (!done) begin
      cycles <= cycles + 1;
      countdown <= last_op ? L : countdown != 0 ? countdown - 1 : 0;
      if (issuing) begin
        if (last_op) issuing <= 0;
        if (step == period - 1) begin
          {step, a, b} <= '0;
          slot <= slot + 1;
        end else begin
          step <= step + 1;
          b <= b == ib - 1 ? 0 : b + 1;
          a <= b == ib - 1 ? a + 1 : a;
        end
      end
      if (tile_done) begin
        {slot, a, b, step} <= '0;
        issuing <= 1;
        n0 <= n0 + nt == n ? 0 : n0 + nt;
        if (n0 + nt == n) begin
          m0 <= m0 + mt;
          done <= m0 + mt == m;
        end
      end
    end
  end
endmodule

module os_array #(
    parameter int ROWS = 1,
    parameter int COLS = 1,
    parameter int V = 1,
    parameter int WORD = 1,
    parameter int L = 1,
    parameter int IA = 1,
    parameter int IB = 1
) (
    input  wire clk,
    input  wire rst,
    input  wire [15:0] m,
    input  wire [15:0] n,
    input  wire [15:0] slots,
    // what every edge needs in this cycle: slot of the reduction, vector (row of X, column of W) or out of the matrix
    output wire [15:0] row_slot[0:ROWS-1],
    output wire [15:0] row_vector[0:ROWS-1],
    output wire row_inside[0:ROWS-1],
    input  wire [WORD*8-1:0] row_x[0:ROWS-1],
    output wire [15:0] col_slot[0:COLS-1],
    output wire [15:0] col_vector[0:COLS-1],
    output wire col_inside[0:COLS-1],
    input  wire [V*16-1:0] col_w[0:COLS-1],
    // what leaves the columns: valid, a value, and whether it is an element of Y
    output wire exit_valid[0:COLS-1],
    output wire signed [31:0] exit_value[0:COLS-1],
    output wire exit_inside[0:COLS-1],
    output wire [15:0] exit_m[0:COLS-1],
    output wire [15:0] exit_n[0:COLS-1],
    output wire done,
    output wire [31:0] cycles
);
  wire [15:0] m0, n0, mt, nt, r, c, slot;
  wire [7:0] ib, owned, a, b, place;
  wire valid, drain;
  wire finished[0:COLS-1];
  wire tile_done = finished[c-1];
  os_control #(.ROWS(ROWS), .COLS(COLS), .L(L), .IA(IA), .IB(IB)) control (
      .clk, .rst, .m, .n, .slots, .tile_done, .m0, .n0, .mt, .nt, .r, .c, .ib, .owned, .valid, .slot, .a, .b, .place,
      .drain, .done, .cycles
  );

  genvar i, j;

  // control words: {valid, slot, a or b, place}, delayed by one cycle per row and per column
  localparam int CW = 33;
  wire [CW-1:0] row_control[0:ROWS];
  wire [CW-1:0] col_control[0:COLS];
  assign row_control[0] = {valid, slot, a, place};
  assign col_control[0] = {valid, slot, b, place};

  wire h_valid[0:ROWS*(COLS+1)-1];
  wire h_first[0:ROWS*(COLS+1)-1];
  wire [7:0] h_place[0:ROWS*(COLS+1)-1];
  wire [WORD*8-1:0] h_x[0:ROWS*(COLS+1)-1];
  wire h_token[0:ROWS*(COLS+1)-1];
  wire v_token[0:(ROWS+1)*COLS-1];
  wire [V*16-1:0] v_w[0:(ROWS+1)*COLS-1];
  wire v_out_valid[0:(ROWS+1)*COLS-1];
  wire signed [31:0] v_out[0:(ROWS+1)*COLS-1];
  wire out_valid[0:ROWS*COLS-1];
  wire signed [31:0] out[0:ROWS*COLS-1];

  for (i = 0; i < ROWS; i++) begin : g_row
    logic [CW-1:0] q;
    always_ff @(posedge clk) q <= rst ? 0 : row_control[i];
    assign row_control[i+1] = q;
    wire [7:0] my_a = row_control[i][8+:8];
    assign row_slot[i] = row_control[i][16+:16];
    assign row_vector[i] = m0 + my_a * r + i;
    assign row_inside[i] = i < r & my_a * r + i < mt;
    assign h_valid[i*(COLS+1)] = row_control[i][32] & i < r;
    assign h_first[i*(COLS+1)] = row_slot[i] == 0;
    assign h_place[i*(COLS+1)] = row_control[i][0+:8];
    assign h_x[i*(COLS+1)] = row_x[i];
    assign h_token[i*(COLS+1)] = (i == 0 ? drain : v_token[i*COLS]) & i < r;

    for (j = 0; j < COLS; j++) begin : g_pe
      os_pe #(.V(V), .WORD(WORD), .L(L), .PLACES(IA * IB)) pe (
          .clk, .rst, .owned,
          .valid(h_valid[i*(COLS+1)+j] & j < c), .first(h_first[i*(COLS+1)+j]), .place(h_place[i*(COLS+1)+j]),
          .x(h_x[i*(COLS+1)+j]), .w(v_w[i*COLS+j]),
          .q_valid(h_valid[i*(COLS+1)+j+1]), .q_first(h_first[i*(COLS+1)+j+1]), .q_place(h_place[i*(COLS+1)+j+1]),
          .q_x(h_x[i*(COLS+1)+j+1]), .q_w(v_w[(i+1)*COLS+j]),
          .token(h_token[i*(COLS+1)+j]), .right(j + 1 < c), .q_token(h_token[i*(COLS+1)+j+1]),
          .token_down(v_token[(i+1)*COLS+j]),
          .drain_valid(v_out_valid[i*COLS+j]), .drain(v_out[i*COLS+j]),
          .out_valid(out_valid[i*COLS+j]), .out(out[i*COLS+j]),
          .q_out_valid(v_out_valid[(i+1)*COLS+j]), .q_out(v_out[(i+1)*COLS+j])
      );
    end
  end

  for (j = 0; j < COLS; j++) begin : g_col
    logic [CW-1:0] q;
    always_ff @(posedge clk) q <= rst ? 0 : col_control[j];
    assign col_control[j+1] = q;
    wire [7:0] my_b = col_control[j][8+:8];
    assign col_slot[j] = col_control[j][16+:16];
    assign col_vector[j] = n0 + my_b * c + j;
    assign col_inside[j] = j < c & my_b * c + j < nt;
    assign v_w[j] = col_w[j];
    assign v_token[j] = 0;
    assign v_out_valid[j] = 0;
    assign v_out[j] = 0;

    // the exit is below the last row in use; rows leave from the top down, the accumulators of a row in their order
    logic [15:0] from_row;
    logic [7:0] from_a, from_b;
    assign exit_valid[j] = out_valid[(r-1)*COLS+j];
    assign exit_value[j] = out[(r-1)*COLS+j];
    assign exit_inside[j] = from_a * r + from_row < mt & from_b * c + j < nt;
    assign exit_m[j] = m0 + from_a * r + from_row;
    assign exit_n[j] = n0 + from_b * c + j;
    wire row_finished = (from_a * ib + from_b) == owned - 1;
    assign finished[j] = exit_valid[j] & row_finished & from_row == r - 1;
    always_ff @(posedge clk) begin
      if (rst | finished[j]) {from_row, from_a, from_b} <= '0;
      else if (exit_valid[j]) begin
        if (row_finished) begin
          from_row <= from_row + 1;
          {from_a, from_b} <= '0;
        end else begin
          from_b <= from_b == ib - 1 ? 0 : from_b + 1;
          from_a <= from_b == ib - 1 ? from_a + 1 : from_a;
        end
      end
    end
  end
endmodule

// Test bench: operand memories in, "Y row column value" for every element and "CYCLES count" out.
module os_bench;
  parameter int ROWS = 1, COLS = 1, V = 1, WORD = 1, L = 1, IA = 1, IB = 1;
  parameter int DEPTH = 1 << 14;
  logic clk = 0, rst = 1;
  int m, n, slots, words;
  string x_file, w_file;
  logic [WORD*8-1:0] x[0:DEPTH-1];  // row of X by row of X, word by word
  logic [V*16-1:0] w[0:DEPTH-1];  // column of W by column of W, slot by slot
  wire [15:0] row_slot[0:ROWS-1], row_vector[0:ROWS-1], col_slot[0:COLS-1], col_vector[0:COLS-1];
  wire row_inside[0:ROWS-1], col_inside[0:COLS-1];
  wire [WORD*8-1:0] row_x[0:ROWS-1];
  wire [V*16-1:0] col_w[0:COLS-1];
  wire exit_valid[0:COLS-1], exit_inside[0:COLS-1];
  wire signed [31:0] exit_value[0:COLS-1];
  wire [15:0] exit_m[0:COLS-1], exit_n[0:COLS-1];
  wire done;
  wire [31:0] cycles;
  os_array #(.ROWS(ROWS), .COLS(COLS), .V(V), .WORD(WORD), .L(L), .IA(IA), .IB(IB)) array (
      .clk, .rst, .m(m[15:0]), .n(n[15:0]), .slots(slots[15:0]), .row_slot, .row_vector, .row_inside, .row_x, .col_slot,
      .col_vector, .col_inside, .col_w, .exit_valid, .exit_value, .exit_inside, .exit_m, .exit_n, .done, .cycles
  );
  genvar i, j;
  for (i = 0; i < ROWS; i++)
    assign row_x[i] = row_inside[i] ? x[row_vector[i]*words+row_slot[i]/(slots/words)] : '0;
  for (j = 0; j < COLS; j++) begin
    assign col_w[j] = col_inside[j] ? w[col_vector[j]*slots+col_slot[j]] : '0;
    always @(posedge clk)
      if (!rst & !done & exit_valid[j] & exit_inside[j]) $display("Y %0d %0d %0d", exit_m[j], exit_n[j], exit_value[j]);
  end

  always #1 clk = ~clk;
  initial begin
    if (!$value$plusargs("m=%d", m) || !$value$plusargs("n=%d", n) || !$value$plusargs("slots=%d", slots)
        || !$value$plusargs("words=%d", words) || !$value$plusargs("x=%s", x_file)
        || !$value$plusargs("w=%s", w_file)) $fatal(1, "a plusarg is missing");
    $readmemh(x_file, x, 0, m * words - 1);
    $readmemh(w_file, w, 0, n * slots - 1);
    repeat (L + 2) @(posedge clk);
    rst <= 0;
  end
  always @(posedge clk) begin
    if (!rst & done) begin
      $display("CYCLES %0d", cycles);
      $finish;
    end
    if (cycles > 1000000) $fatal(1, "no end");
  end
endmodule
