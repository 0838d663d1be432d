/* Variables of all kinds of types, to be read from debug information. */
typedef unsigned char byte;
typedef struct node node;
struct node {
    node *next;
    const char *label;
    union {
        float f;
        unsigned long long bits;
    } value;
    byte grid[3][5];
    enum { RED, GREEN } color;
};
typedef node *nodes[4];

node first = {&first, "first", {1}, {{1}}, GREEN};
volatile nodes table;
node *const *where = (node *const *)table;
void *anything = &first;
double (*function)(double);
_Bool truth = 1;
_Complex float wave = 1;
long long longest = -1;
struct {
    int x;
    short y;
    signed char z;
    char w;
} nameless = {1, 2, 3, 4};
int matrix[2][3] = {{1}};

__attribute__((export_name("use"))) long long use(int index) {
    truth ^= index & 1;
    wave += 2;
    table[index & 3] = &first;
    return longest += where[index & 3] == anything ? (long long)function(2) + matrix[1][index & 1] + nameless.x : 0;
}
