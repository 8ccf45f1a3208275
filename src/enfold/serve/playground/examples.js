// Inputs to begin with, for each task in both languages; an example has the same place in either.

const one = (name, values) => ({ name, values });

export const EXAMPLES = {
  "text-classification": {
    en: [
      one("A film", { text: "The first hour drags, but the last scene is worth every minute of it." }),
      one("A complaint", { text: "I waited forty minutes for a cold soup, and nobody even said sorry." }),
      one("A delivery", { text: "Arrived a day early and works as described." }),
    ],
    zh: [
      one("一部电影", { text: "前一个小时有些拖沓，但最后一幕值得所有的等待。" }),
      one("一次投诉", { text: "我等了四十分钟，端上来的汤是凉的，连一句道歉都没有。" }),
      one("一次收货", { text: "比预计早到一天，和描述完全一致。" }),
    ],
  },
  "token-classification": {
    en: [
      one("A scientist", {
        text: "Marie Curie was born in Warsaw and later taught in Paris, where she met Pierre Curie.",
      }),
      one("A tour", { text: "The Beatles flew from London to New York in 1964 and played for Ed Sullivan." }),
      one("A product", { text: "Satya Nadella showed the new Surface in Seattle while Sony waited in Tokyo." }),
    ],
    zh: [
      one("一位科学家", { text: "居里夫人（Marie Curie）出生于华沙（Warsaw），后来在巴黎（Paris）任教。" }),
      one("一次巡演", { text: "披头士（The Beatles）1964 年从伦敦（London）飞往纽约（New York）。" }),
      one("一款产品", { text: "纳德拉（Satya Nadella）在西雅图（Seattle）展示了新款 Surface。" }),
    ],
  },
  "zero-shot-classification": {
    en: [
      one("A message", {
        text: "My parcel was meant to come on Monday and is still not here.",
        labels: "delivery, payment, praise, question about a product",
      }),
      one("A headline", {
        text: "The central bank leaves its rate unchanged for the third time.",
        labels: "economy, sport, culture, science",
      }),
    ],
    zh: [
      one("一条留言", { text: "我的包裹本该周一送到，到现在还没有收到。", labels: "配送，付款，表扬，产品咨询" }),
      one("一个标题", { text: "央行连续第三次维持利率不变。", labels: "经济，体育，文化，科学" }),
    ],
  },
  "zero-shot-by-embedding": {
    en: [
      one("A message", {
        text: "My parcel was meant to come on Monday and is still not here.",
        labels: "delivery, payment, praise, question about a product",
      }),
      one("A headline", {
        text: "The central bank leaves its rate unchanged for the third time.",
        labels: "economy, sport, culture, science",
      }),
    ],
    zh: [
      one("一条留言", { text: "我的包裹本该周一送到，到现在还没有收到。", labels: "配送，付款，表扬，产品咨询" }),
      one("一个标题", { text: "央行连续第三次维持利率不变。", labels: "经济，体育，文化，科学" }),
    ],
  },
  "sentence-similarity": {
    en: [
      one("Weather and work", {
        sentences:
          "It has been raining since the morning.\nThe whole day was wet.\nShe signed the contract yesterday.\nThe agreement has her signature now.\nCats sleep most of the day.",
      }),
      one("Questions", {
        sentences:
          "How do I change my password?\nI forgot how to log in.\nWhere can I see my bills?\nWhen does the shop open?",
      }),
    ],
    zh: [
      one("天气与工作", {
        sentences:
          "从早上起一直在下雨。\n一整天都湿漉漉的。\n她昨天签了合同。\n协议上已经有她的签名。\n猫一天里大部分时间在睡觉。",
      }),
      one("提问", { sentences: "怎样修改密码？\n我忘了怎么登录。\n在哪里可以看到账单？\n商店几点开门？" }),
    ],
  },
  "question-answering": {
    en: [
      one("A bridge", {
        question: "Who designed the bridge?",
        context:
          "The bridge across the river was opened in 1932. It was designed by the engineer Ralph Freeman and took eight years to build. Today about 160,000 vehicles cross it every day.",
      }),
      one("A recipe", {
        question: "How long does the dough rest?",
        context:
          "Mix flour, water and salt, and knead for ten minutes. Let the dough rest for two hours in a warm place. Bake it at 230 degrees for forty minutes.",
      }),
    ],
    zh: [
      one("一座桥", {
        question: "这座桥是谁设计的？",
        context: "这座跨河大桥于 1932 年通车，由工程师拉尔夫·弗里曼设计，历时八年建成。如今每天约有十六万辆车通过。",
      }),
      one("一份食谱", {
        question: "面团要醒多久？",
        context: "把面粉、水和盐混合，揉十分钟。面团在温暖处醒两个小时，然后以 230 度烤四十分钟。",
      }),
    ],
  },
  "fill-mask": {
    en: [
      one("A capital", { text: "The capital of France is [MASK]." }),
      one("The weather", { text: "Take an umbrella with you, it is going to [MASK]." }),
      one("Two words", { text: "She [MASK] the door and went [MASK]." }),
    ],
    zh: [
      one("一座首都", { text: "法国的首都是[MASK]黎。" }),
      one("天气", { text: "出门带把伞，今天会下[MASK]。" }),
      one("两个字", { text: "她打开[MASK]，走了出[MASK]。" }),
    ],
  },
  chat: {
    en: [
      one("An explanation", { message: "Why is the sky blue? Answer in two sentences.", system: "" }),
      one("A list", { message: "Name three things to see in Lisbon.", system: "" }),
      one("A role", { message: "What do you think of rain?", system: "You are an old sailor. Answer briefly." }),
    ],
    zh: [
      one("一个解释", { message: "天空为什么是蓝色的？请用两句话回答。", system: "" }),
      one("一份清单", { message: "说出北京值得一看的三个地方。", system: "" }),
      one("一个角色", { message: "你怎么看下雨？", system: "你是一位老水手，回答要简短。" }),
    ],
  },
  "text-generation": {
    en: [
      one("A story", { text: "The lighthouse had been dark for years when, one evening," }),
      one("A definition", { text: "A transformer is a neural network that" }),
    ],
    zh: [
      one("一个故事", { text: "灯塔多年没有亮过，直到一天傍晚，" }),
      one("一个定义", { text: "Transformer 是一种神经网络，它" }),
    ],
  },
  summarization: {
    en: [
      one("A report", {
        text: "The town council met on Tuesday to decide about the old railway station. The building has been empty since 2009, and three plans were on the table: a library, flats, or a market hall. After four hours the council chose the library, by nine votes to six. Work begins in spring and is to cost 4.2 million euros, half of which the state pays. Those who wanted the market hall said that the square would stay empty in the evenings; the mayor answered that the library would be open until ten.",
      }),
    ],
    zh: [
      one("一篇报道", {
        text: "镇议会周二开会，决定老火车站的去留。这座建筑自 2009 年起空置，共有三个方案：图书馆、住宅或市场。经过四小时讨论，议会以九票对六票选择了图书馆。工程将于春天开始，预计花费四百二十万欧元，其中一半由国家承担。主张建市场的人说，广场晚上会冷清；镇长回答，图书馆会开到十点。",
      }),
    ],
  },
  translation: {
    en: [
      one("A sentence", { text: "The train to the coast leaves at half past seven." }),
      one("A letter", { text: "Thank you for your letter. We were glad to hear that you arrived safely." }),
    ],
    zh: [
      one("一句话", { text: "去海边的火车七点半出发。" }),
      one("一封信", { text: "谢谢你的来信。得知你平安到达，我们都很高兴。" }),
    ],
  },
  "text2text-generation": {
    en: [
      one("A question", { text: "Answer the question: what do bees make?" }),
      one("A translation", { text: "translate English to German: The house is small." }),
    ],
    zh: [
      one("一个问题", { text: "请回答：蜜蜂酿什么？" }),
      one("一句翻译", { text: "translate English to German: The house is small." }),
    ],
  },
  tokens: {
    en: [
      one("Long words", { text: "Tokenizers cut uncommonly long words into pieces." }),
      one("Many scripts", { text: "Café, 北京, Москва and 👩‍🚀 in one line." }),
      one("Code", { text: "for i in range(10):\n    print(i ** 2)" }),
    ],
    zh: [
      one("一句话", { text: "分词器把少见的长词切成片段。" }),
      one("多种文字", { text: "Café、北京、Москва 和 👩‍🚀 在同一行。" }),
      one("代码", { text: "for i in range(10):\n    print(i ** 2)" }),
    ],
  },
  embed: {
    en: [
      one("A sentence", { text: "A quiet street after the rain." }),
      one("A question", { text: "Where can I see my bills?" }),
    ],
    zh: [one("一句话", { text: "雨后安静的街道。" }), one("一个问题", { text: "在哪里可以看到账单？" })],
  },
  "feature-extraction": {
    en: [
      one("A river bank", { text: "He sat on the bank of the river." }),
      one("A bank", { text: "She opened an account at the bank." }),
    ],
    zh: [one("河边", { text: "他坐在河岸边。" }), one("银行", { text: "她在银行开了账户。" })],
  },
};
